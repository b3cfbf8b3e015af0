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
export function fitsSingle(values: Numbers, [low, high]: Domain): boolean {
  if (!(values instanceof Float64Array || values instanceof Int32Array || values instanceof Uint32Array)) return true;
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
function stretched(values: Numbers, [low, high]: Domain, scale: ScaleName): Float32Array {
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
  if (from === to) {
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
