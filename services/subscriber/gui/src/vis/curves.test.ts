import { describe, expect, it } from 'vitest';
import type { Read } from '../api/queries';
import { extentOf, lengthOf, lineOf, pointAt, pointsOf, pointText } from './curves';

function read(values: number[], step: number): Read {
  const bytes = new Uint8Array(Float64Array.from(values).buffer);
  return { dtype: '<f8', shape: [values.length], size: values.length, bytes, range: null, step } as Read;
}

describe('curves', () => {
  it('place pairs in their group and tell its extremes', () => {
    const pairs = read([1, 9, 2, 8], 10);
    const points = pointsOf(pairs, 100, 'amplitude');
    expect([...points.positions]).toEqual([100, 105, 110, 115]);
    expect(pointText(pairs, 3, points.values)).toBe('2 … 8');
    expect(lengthOf(pairs)).toBe(20);
    expect([99, 100, 107, 500].map((x) => pointAt(points, x))).toEqual([0, 0, 1, 3]);
  });

  it('have an extent over finite values, or none', () => {
    expect(extentOf([Float64Array.of(NaN, -2, Infinity), Float64Array.of(5)])).toEqual({
      min: -2,
      max: 5,
      positive: 5,
    });
    expect(extentOf([Float64Array.of(NaN)])).toBeNull();
  });

  it('go through the middle of other datasets', () => {
    const entry = { path: 'lab/x.b2nd', kind: 'array' as const, nbytes: 1, mtime: 0, etag: '' };
    expect(lineOf({ ...entry, dtype: 'float32', shape: [5, 100, 1] })).toBe('lab/x.b2nd[2,:,0]');
    expect(lineOf({ ...entry, dtype: '<U5', shape: [5] })).toBeNull();
  });
});
