/** Lines to draw: points, extents, and which lines are compared. */
import { useQueries } from '@tanstack/react-query';
import { cellText, numbers, phases } from '../api/arrays';
import { infoKind } from '../api/dtype';
import { lineQuery, type Read } from '../api/queries';
import type { Entry } from '../api/types';
import { resolveDims, sliceText, type View } from '../state/view';
import * as format from '../ui/format';

/** Colours of lines that are compared, told apart in both themes and by people who see no red or green. */
export const COLOURS = ['#d1622b', '#2b8f6a', '#a24fb0', '#b58900', '#5a7fa6', '#c0392b'];

export interface Points {
  positions: Float64Array;
  values: Float64Array;
}

/** Points of a curve: the values, or for pairs first the least, then the greatest of every group. */
export function pointsOf(read: Read, start: number, part: View['part']): Points {
  const flat = isComplex(read) && part === 'phase' ? phases(read) : numbers(read);
  const values = flat instanceof Float64Array ? flat : Float64Array.from(flat);
  const positions = new Float64Array(values.length);
  const perGroup = read.step > 1 ? 2 : 1;
  for (let i = 0; i < positions.length; i++) {
    positions[i] = start + Math.floor(i / perGroup) * read.step + (perGroup === 2 && i % 2 ? read.step / 2 : 0);
  }
  return { positions, values };
}

function isComplex({ dtype }: Read): boolean {
  return dtype === '<c8' || dtype === '<c16';
}

/** Text of a point, exact where the type has one; of a group of values, the least and the greatest. */
export function pointText(read: Read, index: number, values: Float64Array): string {
  const text = (i: number) => (isComplex(read) ? format.number(values[i] ?? NaN) : cellText(read, i));
  if (read.step === 1) return text(index);
  const least = index - (index % 2);
  return `${text(least)} … ${text(least + 1)}`;
}

/** The last point at or before a position; the first one before all of them. */
export function pointAt({ positions }: Points, position: number): number {
  let [low, high] = [0, positions.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((positions[middle] as number) <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

export interface Extent {
  min: number;
  max: number;
  positive: number | null;
}

/** Least, greatest and least positive of the finite values of some lines; null if there are none. */
export function extentOf(lines: Float64Array[]): Extent | null {
  let [min, max, positive] = [Infinity, -Infinity, Infinity];
  for (const values of lines) {
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      if (value < min) min = value;
      if (value > max) max = value;
      if (value > 0 && value < positive) positive = value;
    }
  }
  return min > max ? null : { min, max, positive: Number.isFinite(positive) ? positive : null };
}

export interface Curve {
  /** `ROOT/path[slice]`, as the address names it. */
  name: string;
  colour: string;
  read: Read | undefined;
  points: Points | undefined;
  error: Error | null;
}

/** The lines that are compared with the open one, in the part of the axis that is in view. */
export function useOthers(names: string[], window: [number, number] | null, part: View['part']): Curve[] {
  const asked = names.map((name) => {
    const [, path = name, slice = ':'] = /^(.*)\[([^[\]]*)\]$/.exec(name) ?? [];
    const whole = lineQuery(path, '', slice);
    return window ? lineQuery(path, '', slice.replace(/(^|,):(?=,|$)/, `$1${window.join(':')}`)) : whole;
  });
  const found = useQueries({ queries: asked });
  return names.map((name, i) => {
    const { data, error } = found[i] ?? {};
    const points = data && pointsOf(data, window?.[0] ?? 0, part);
    return { name, colour: COLOURS[i % COLOURS.length] as string, read: data, points, error: error ?? null };
  });
}

/** How many values the line of a whole read has. */
export function lengthOf(read: Read): number {
  const [points = 0] = read.shape;
  return read.step > 1 ? (points / 2) * read.step : points;
}

/** The line of a dataset that is compared when nobody says which: through the middle, along its longest last axis. */
export function lineOf(entry: Entry): string | null {
  const kind = infoKind(entry.dtype ?? '');
  if (!entry.shape?.length || !(kind === 'real' || kind === 'bool' || kind === 'complex')) return null;
  return `${entry.path}[${sliceText(resolveDims(null, entry.shape, 1))}]`;
}
