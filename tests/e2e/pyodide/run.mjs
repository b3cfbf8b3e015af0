// Runs a Python program in Pyodide: node run.mjs DIRECTORY-OF-PYODIDE DIRECTORY-OF-WHEELS PROGRAM
import { readFileSync, readdirSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [pyodideHome, wheels, program] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodideHome}/pyodide.mjs`).href);
const pyodide = await loadPyodide();
for (const name of readdirSync(wheels)) {
  pyodide.unpackArchive(new Uint8Array(readFileSync(`${wheels}/${name}`)), "whl");
}
await pyodide.runPythonAsync(readFileSync(program, "utf8"));
