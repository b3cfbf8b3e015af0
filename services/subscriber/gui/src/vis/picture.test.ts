import { describe, expect, it } from 'vitest';
import { parseView } from '../state/view';
import ndarray from './ndarray';
import { domainsOf, placeable, safeDomain } from './picture';

describe('colour domains', () => {
  it('are always drawable', () => {
    expect(safeDomain(-5, 10, 'log', 0.1)).toEqual([0.1, 10]);
    expect(safeDomain(-5, -1, 'log', null)[0]).toBeGreaterThan(0);
    expect(safeDomain(3, 3, 'linear', null)).toEqual([2.85, 3.15]);
    expect(safeDomain(NaN, Infinity, 'linear', null)).toEqual([0, 1]);
    expect(safeDomain(-4, 9, 'sqrt', null)).toEqual([0, 9]);
  });

  it('follow what the person set before what the data have', () => {
    const stats = {
      count: 9,
      nonfinite: 0,
      approx: false,
      min: 0,
      max: 100,
      mean: 1,
      std: 1,
      p_low: 5,
      p_high: 90,
      positive_min: 1,
      histogram: null,
    };
    const view = parseView(new URLSearchParams('dom=:50'));
    expect(domainsOf(view, stats, null)).toEqual({ data: [5, 90], shown: [5, 50] });
    expect(domainsOf({ ...view, clip: false, dom: null }, stats, null).shown).toEqual([0, 100]);
  });

  it('leave out bars that a scale cannot place', () => {
    expect(placeable({ counts: [1, 2, 3], edges: [-1, 0, 1, 2] }, 'log')).toEqual({ counts: [3], edges: [1, 2] });
    expect(placeable({ counts: [1], edges: [-2, -1] }, 'log')).toBeNull();
  });
});

describe('views of flat arrays', () => {
  it('index, pick and transpose like ndarray', () => {
    const view = ndarray(new Float32Array([0, 1, 2, 3, 4, 5]), [2, 3]);
    expect(view.get(1, 2)).toBe(5);
    expect(view.T.get(2, 1)).toBe(5);
    expect(view.pick(1, null).get(0)).toBe(3);
    expect([view.dtype, view.size, view.dimension]).toEqual(['float32', 6, 2]);
  });
});
