/** Numbers, sizes, shapes and times as people read them. */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** Thousands set apart by narrow spaces. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
}

export function shape(lengths: number[]): string {
  return lengths.length ? lengths.map(count).join(' × ') : 'scalar';
}

/** Shape in little room: `256×512×512`, `2M`, `16.4k×16.4k`. */
export function shortShape(lengths: number[]): string {
  const short = (n: number) => (n >= 1e6 ? `${trim(n / 1e6)}M` : n >= 10_000 ? `${trim(n / 1e3)}k` : String(n));
  return lengths.length ? lengths.map(short).join('×') : 'scalar';
}

function trim(value: number): string {
  return value.toPrecision(3).replace(/\.?0+$/, '');
}

export function time(value: string | number | null | undefined): string {
  const date = asDate(value);
  if (!date) return '–';
  return date.toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  });
}

export function ago(value: string | number | null | undefined, now = Date.now()): string {
  const date = asDate(value);
  if (!date) return '';
  const seconds = Math.max(0, (now - date.getTime()) / 1000);
  const steps: [number, string][] = [
    [86400 * 365, 'y'],
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ];
  for (const [size, unit] of steps) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return 'just now';
}

function asDate(value: string | number | null | undefined): Date | null {
  if (value === null || value === undefined || value === '') return null;
  const date = new Date(typeof value === 'number' ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** A number for a tooltip or an axis: at most seven significant digits. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '∞' : '-∞';
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const text = value.toPrecision(7);
  return text.includes('e') ? text.replace(/\.?0+e/, 'e') : text.replace(/\.?0+$/, '');
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}
