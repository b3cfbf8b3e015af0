/** From a slice to what the plots of @h5web/lib take. */
import type { Domain } from '@h5web/lib';
import { ScaleType, type ColorScaleType } from '@h5web/lib';
import ndarray, { type NdArray } from 'ndarray';
import { cellText, numbers, phases, texture, type Numbers, type Slice } from '../api/arrays';
import type { Statistics } from '../api/types';
import type { ScaleName, View } from '../state/view';

export const SCALE: Record<ScaleName, ColorScaleType> = {
  linear: ScaleType.Linear,
  log: ScaleType.Log,
  symlog: ScaleType.SymLog,
  sqrt: ScaleType.Sqrt,
};

/** Rows and columns of a picture, in the type of the data. */
export interface Picture {
  values: Numbers;
  shape: [rows: number, columns: number];
}

/** Rows and columns of a two-dimensional slice, with the axes exchanged where the view asks for it. */
export function picture(slice: Slice, transposed: boolean, part: View['part']): Picture {
  const complex = slice.dtype === '<c8' || slice.dtype === '<c16';
  const values = complex && part === 'phase' ? phases(slice) : numbers(slice);
  const [rows = 1, columns = 1] = slice.shape;
  return transposed
    ? { values: transpose(values, rows, columns), shape: [columns, rows] }
    : { values, shape: [rows, columns] };
}

/** Textures are read row by row, so exchanging strides is not enough. */
function transpose<T extends Numbers>(values: T, rows: number, columns: number): T {
  const out = values.slice() as T;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column] as number;
  }
  return out;
}

/** What the graphics processor is given: values, and how they become colours. */
export interface Mesh {
  values: NdArray<Float32Array | Uint8Array>;
  domain: Domain;
  scaleType: ColorScaleType;
}

export function texturesOf({ values, shape }: Picture, domain: Domain, scale: ScaleName): Mesh {
  if (fitsSingle(values, domain)) return { values: ndarray(texture(values), shape), domain, scaleType: SCALE[scale] };
  return { values: ndarray(stretched(values, domain, scale), shape), domain: [0, 1], scaleType: ScaleType.Linear };
}

/** Whether single precision, in which graphics processors calculate, tells the values of a domain apart. */
export function fitsSingle(values: Numbers, domain: Domain): boolean {
  const wide = values instanceof Float64Array || values instanceof Int32Array || values instanceof Uint32Array;
  return !wide || singleSpans(domain);
}

/** Whether single precision tells numbers of a domain apart that are next to each other among its colours. */
export function singleSpans([low, high]: Domain): boolean {
  const largest = Math.max(Math.abs(low), Math.abs(high));
  return largest < 1e37 && largest > 1e-35 && high - low > largest * 2 ** -14;
}

const PLACE: Record<ScaleName, (value: number) => number> = {
  // Halves, because the difference of two great numbers may be beyond all numbers.
  linear: (value) => value / 2,
  log: Math.log10,
  symlog: (value) => Math.sign(value) * Math.log1p(Math.abs(value)),
  sqrt: Math.sqrt,
};

/** Values as places in the domain, 0 to 1, calculated in double precision. */
export function stretched(values: Numbers, [low, high]: Domain, scale: ScaleName): Float32Array {
  const place = PLACE[scale];
  const [from, to] = [place(low), place(high)];
  return Float32Array.from(values, (value) => (place(value) - from) / (to - from));
}

/** Colour of what is no number, as the theme has it: never one of a colour map. */
export function nanColour(): string {
  return getComputedStyle(document.documentElement).getPropertyValue('--nan').trim() || '#c7b3c9';
}

/** What a person should know about a picture that does not show all its values; null if it does. */
export function missingNote(stats: Statistics | undefined, scale: ScaleName): string | null {
  if (!stats || stats.count + stats.nonfinite === 0) return null;
  if (stats.min === null) return 'There is nothing to draw: none of these values is a finite number.';
  if (scale === 'log' && stats.min <= 0) return 'Values of zero and below are not drawn on a logarithmic scale.';
  if (scale === 'sqrt' && stats.min < 0) return 'Values below zero are not drawn on a square root scale.';
  return null;
}

/** Exact text of the pixel in picture coordinates. */
export function pixelText(slice: Slice, row: number, column: number, transposed: boolean): string {
  const [rows = 1, columns = 1] = slice.shape;
  const [r, c] = transposed ? [column, row] : [row, column];
  if (r < 0 || c < 0 || r >= rows || c >= columns) return '';
  return cellText(slice, r * columns + c);
}

const EMPTY: Domain = [0, 1];
const ROUNDING = 8 * Number.EPSILON;

/** A domain that is always drawable: finite, ascending, and positive where the scale needs it. */
export function safeDomain(low: number, high: number, scale: ScaleName, positiveMin: number | null): Domain {
  let [from, to] = Number.isFinite(low) && Number.isFinite(high) ? [low, high] : EMPTY;
  if (scale === 'log') {
    const least = positiveMin && positiveMin > 0 ? positiveMin : 1e-3;
    if (!(to > 0)) to = Math.max(10 * least, 1);
    if (!(from > 0)) from = Math.min(least, to / 10);
  }
  if (scale === 'sqrt') {
    from = Math.max(from, 0);
    to = Math.max(to, 0);
  }
  if (from > to) [from, to] = [to, from];
  // What differs by rounding alone has one colour, not all of them.
  if (to - from <= ROUNDING * Math.max(Math.abs(from), Math.abs(to))) {
    if (scale === 'log') return [from / 2, to * 2];
    const half = Math.abs(from) * 0.05 || 0.5;
    return [scale === 'sqrt' ? Math.max(from - half, 0) : from - half, to + half];
  }
  return [from, to];
}

export interface Domains {
  /** All values of the slice. */
  data: Domain;
  /** What the colours span. */
  shown: Domain;
}

/** The colour domain of a view: what the person set, else the central 99 %, else everything. */
export function domainsOf(view: View, stats: Statistics | undefined, range: Domain | null): Domains {
  const { scale } = view;
  if (view.part === 'phase') {
    const turn: Domain = [-Math.PI, Math.PI];
    return { data: turn, shown: turn };
  }
  const least = stats?.positive_min ?? null;
  const low = stats?.min ?? range?.[0] ?? 0;
  const high = stats?.max ?? range?.[1] ?? 1;
  const clipped = view.clip && stats?.p_low != null && stats.p_high != null && stats.p_high > stats.p_low;
  const auto: Domain = clipped ? [stats.p_low as number, stats.p_high as number] : [low, high];
  const [from, to] = view.dom ?? [null, null];
  return {
    data: safeDomain(auto[0], auto[1], scale, least),
    shown: safeDomain(from ?? auto[0], to ?? auto[1], scale, least),
  };
}

/** What describes several slices together; undefined until all are described. */
export function joined(all: (Statistics | undefined)[]): Statistics | undefined {
  const [first, ...rest] = all;
  return rest.reduce((left, right) => left && right && both(left, right), first);
}

function both(a: Statistics, b: Statistics): Statistics {
  const pick = (name: 'min' | 'max' | 'p_low' | 'p_high' | 'positive_min', choose: (...found: number[]) => number) => {
    const found = [a[name], b[name]].filter((value) => value !== null);
    return found.length ? choose(...found) : null;
  };
  return {
    ...a,
    count: a.count + b.count,
    nonfinite: a.nonfinite + b.nonfinite,
    approx: a.approx || b.approx,
    min: pick('min', Math.min),
    max: pick('max', Math.max),
    p_low: pick('p_low', Math.min),
    p_high: pick('p_high', Math.max),
    positive_min: pick('positive_min', Math.min),
    mean: null,
    std: null,
    histogram: a.histogram && b.histogram ? poured(a.histogram, b.histogram) : (a.histogram ?? b.histogram),
  };
}

type Histogram = NonNullable<Statistics['histogram']>;

/** Two histograms in bins that hold both. */
function poured(a: Histogram, b: Histogram): Histogram {
  const low = Math.min(a.edges[0] as number, b.edges[0] as number);
  const width = (Math.max(a.edges.at(-1) as number, b.edges.at(-1) as number) - low) / a.counts.length;
  const counts = new Array<number>(a.counts.length).fill(0);
  for (const { counts: bins, edges } of [a, b]) {
    bins.forEach((count, i) => {
      const middle = ((edges[i] as number) + (edges[i + 1] as number)) / 2;
      const at = Math.min(Math.max(Math.floor((middle - low) / width), 0), counts.length - 1);
      counts[at] = (counts[at] as number) + count;
    });
  }
  return { counts, edges: Array.from({ length: counts.length + 1 }, (_, i) => low + i * width) };
}

/** Grey for stacks of real measurements, Viridis otherwise, unless the person prefers another map. */
export function defaultMap(shape: number[], preferred: string): string {
  return shape.length > 2 && preferred === 'Viridis' ? 'Greys' : preferred;
}

/** The bars of a histogram that a scale can place: those above zero for logarithms, from zero for roots. */
export function placeable(histogram: NonNullable<Statistics['histogram']>, scale: ScaleName) {
  const { counts, edges } = histogram;
  const fits = (edge: number) => (scale === 'log' ? edge > 0 : scale === 'sqrt' ? edge >= 0 : true);
  const first = edges.findIndex(fits);
  if (first < 0 || first >= counts.length) return null;
  return { counts: counts.slice(first), edges: edges.slice(first) };
}
