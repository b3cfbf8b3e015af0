// Writes THIRD_PARTY.txt: name, version, licence and licence text of every package that is part of the bundle.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const shipped = Object.entries(lock.packages)
  .filter(([path, entry]) => path.startsWith('node_modules/') && !entry.dev && !entry.peer && !entry.optional)
  .filter(([path]) => !path.includes('/@types/') && existsSync(path))
  .sort(([a], [b]) => (a < b ? -1 : 1));

const sections = shipped.map(([path, entry]) => {
  const { name, version, license } = JSON.parse(readFileSync(`${path}/package.json`, 'utf8'));
  const file = readdirSync(path).find((candidate) => /^licen[cs]e/i.test(candidate));
  const text = file ? readFileSync(`${path}/${file}`, 'utf8').trim() : `(${license ?? entry.license})`;
  return `${name} ${version} (${license ?? entry.license})\n\n${text}\n`;
});

const head = 'Packages that the web GUI of Caterva2 is built from, with their licences.\n';
writeFileSync('public/THIRD_PARTY.txt', [head, ...sections].join(`\n${'-'.repeat(100)}\n\n`));
console.log(`${shipped.length} packages`);
