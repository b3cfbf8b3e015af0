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

export type Picture = NdArray<Float32Array | Uint8Array>;

/** Rows and columns of a two-dimensional slice, with the axes exchanged where the view asks for it. */
export function picture(slice: Slice, transposed: boolean, part: View['part']): Picture {
  const values = slice.dtype === '<c8' || slice.dtype === '<c16' ? complexPart(slice, part) : numbers(slice);
  const [rows = 1, columns = 1] = slice.shape;
  const flat = texture(values);
  return transposed
    ? (ndarray(transpose(flat, rows, columns), [columns, rows]) as Picture)
    : (ndarray(flat, [rows, columns]) as Picture);
}

function complexPart(slice: Slice, part: View['part']): Numbers {
  return part === 'phase' ? phases(slice) : numbers(slice);
}

/** Textures are read row by row, so exchanging strides is not enough. */
function transpose<T extends Float32Array | Uint8Array>(values: T, rows: number, columns: number): T {
  const out = values.slice() as T;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column] as number;
  }
  return out;
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
