// Fails when the bundle outgrows what people on a slow link can be asked to load (sizes after gzip -9).
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const directory = '../src/caterva2_subscriber/static/app';
const page = readFileSync(`${directory}/index.html`, 'utf8');
const size = (file) => gzipSync(readFileSync(`${directory}/${file}`), { level: 9 }).length;
const assets = readdirSync(`${directory}/assets`).map((name) => `assets/${name}`);
const first = assets.filter((name) => page.includes(name));
const plots = assets.filter((name) => /DisplayTab.*\.js$/.test(name));

const budgets = [
  ['first load, script and style', first, 100_000],
  ['plots, loaded on demand', plots, 340_000],
];
let failed = false;
for (const [what, files, budget] of budgets) {
  const used = files.reduce((sum, file) => sum + size(file), 0);
  const fits = files.length > 0 && used <= budget;
  failed ||= !fits;
  console.log(`${fits ? 'ok  ' : 'OVER'} ${what}: ${used} of ${budget} bytes`);
}
process.exit(failed ? 1 : 0);
