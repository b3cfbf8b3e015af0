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

/** A share of a whole: what is there is never said to be nothing, what lacks something never to be all. */
export function percent(share: number): string {
  const value = 100 * share;
  if (value <= 0) return '0 %';
  if (value < 1) return '< 1 %';
  return `${value >= 100 ? 100 : Math.min(Math.round(value), 99)} %`;
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
  return lengths.length ? lengths.map(shortCount).join('×') : 'scalar';
}

function shortCount(n: number): string {
  const [unit, size] = n >= 1e9 ? ['G', 1e9] : n >= 1e6 ? ['M', 1e6] : n >= 10_000 ? ['k', 1e3] : ['', 1];
  return unit ? `${trimZeros((n / size).toPrecision(3))}${unit}` : String(n);
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

/** An index on an axis: thousands set apart; what is between two indices has no label. */
export function indexTick(value: number): string {
  if (!Number.isInteger(value)) return '';
  return Math.abs(value) < 1e7 ? count(value) : `${trimZeros((value / 1e6).toPrecision(6))}\u202fM`;
}

/** A value on an axis. */
export function tick(value: number): string {
  const text = power(value.toPrecision(7));
  return text.includes('e') ? text : grouped(text);
}

/** The end of a range: four significant digits, and no more zeros than help. */
export function bound(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return count(value);
  return power(value.toPrecision(4));
}

/** How to write the ticks of one axis: with as many digits as tell them apart. */
export function ticks(values: number[]): (value: number) => string {
  const largest = Math.max(...values.map(Math.abs), 0);
  const gaps = values.slice(1).map((value, i) => Math.abs(value - (values[i] as number)));
  const step = Math.min(...gaps, largest || 1);
  if (largest >= 1e6 || (largest > 0 && largest < 1e-3)) {
    const digits = Math.min(Math.max(Math.ceil(Math.log10(largest / step)) + 1, 1), 15);
    return (value) => power(value.toPrecision(digits));
  }
  const decimals = Math.min(Math.max(-Math.floor(Math.log10(step) + 1e-9), 0), 9);
  return (value) => grouped(trimZeros(value.toFixed(decimals)));
}

function grouped(text: string): string {
  return text.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, '\u202f'));
}

function power(text: string): string {
  const value = Number(text);
  if (value === 0) return '0';
  if (!text.includes('e') && Math.abs(value) < 1e6 && Math.abs(value) >= 1e-3) return trimZeros(text);
  return value.toExponential().replace('e+', 'e');
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function parentOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
}
