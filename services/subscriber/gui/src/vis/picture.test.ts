import { describe, expect, it } from 'vitest';
import { parseView } from '../state/view';
import ndarray from './ndarray';
import { domainsOf, joined, missingNote, picture, placeable, safeDomain, texturesOf } from './picture';
import { opaque } from './Rgb';

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

  it('take what differs by rounding alone for one value', () => {
    expect(safeDomain(1 - 2 ** -53, 1 + 2 ** -52, 'linear', null)).toEqual([
      expect.closeTo(0.95),
      expect.closeTo(1.05),
    ]);
    expect(safeDomain(1, 1 + 2 ** -40, 'linear', null)).toEqual([1, 1 + 2 ** -40]);
  });

  it('span all planes that are seen together', () => {
    const edges = (low: number) => Array.from({ length: 5 }, (_, i) => low + i);
    const plane = (low: number, counts: number[]) => ({
      count: 10,
      nonfinite: 1,
      approx: low > 0,
      min: low,
      max: low + 4,
      mean: 0,
      std: 0,
      p_low: low + 0.5,
      p_high: low + 3.5,
      positive_min: low > 0 ? low : null,
      histogram: { counts, edges: edges(low) },
    });
    const both = joined([plane(0, [1, 2, 3, 4]), plane(4, [10, 0, 0, 0])]);
    expect(both).toMatchObject({ min: 0, max: 8, p_low: 0.5, p_high: 7.5, positive_min: 4, count: 20, approx: true });
    expect(both?.histogram).toEqual({ counts: [3, 7, 10, 0], edges: [0, 2, 4, 6, 8] });
    expect(joined([plane(0, [1, 2, 3, 4]), undefined])).toBeUndefined();
  });

  it('leave out bars that a scale cannot place', () => {
    expect(placeable({ counts: [1, 2, 3], edges: [-1, 0, 1, 2] }, 'log')).toEqual({ counts: [3], edges: [1, 2] });
    expect(placeable({ counts: [1], edges: [-2, -1] }, 'log')).toBeNull();
  });
});

describe('colour pictures', () => {
  it('are opaque bytes, whatever they were', () => {
    expect([...opaque(Uint8Array.of(1, 2, 3, 4, 5, 6), 3)]).toEqual([1, 2, 3, 255, 4, 5, 6, 255]);
    expect([...opaque(Uint8Array.of(0, 255, 0, 0), 4)]).toEqual([255, 255, 255, 255]);
    expect([...opaque(Float64Array.of(0, 1, 2, 0.5), 4)]).toEqual([128, 255, 255, 255]);
  });
});

describe('textures', () => {
  it('tell values apart that single precision cannot', () => {
    const close = { values: Float64Array.of(1.7e9, 1.7e9 + 1, 1.7e9 + 2), shape: [1, 3] as [number, number] };
    const mesh = texturesOf(close, [1.7e9, 1.7e9 + 2], 'linear');
    expect([[...mesh.values.data], mesh.domain]).toEqual([
      [0, 0.5, 1],
      [0, 1],
    ]);
    const great = { values: Float64Array.of(-1e308, 0, 1e308), shape: [1, 3] as [number, number] };
    expect([...texturesOf(great, [-1e308, 1e308], 'linear').values.data]).toEqual([0, 0.5, 1]);
    const decades = { values: Float64Array.of(1e-40, 1e-20, 1e40), shape: [1, 3] as [number, number] };
    expect([...texturesOf(decades, [1e-40, 1e40], 'log').values.data]).toEqual([0, 0.25, 1]);
  });

  it('keep the values where it can', () => {
    const counts = { values: Uint16Array.of(1, 2), shape: [1, 2] as [number, number] };
    expect(texturesOf(counts, [1, 2], 'log')).toMatchObject({ domain: [1, 2] });
    expect(texturesOf(counts, [1, 2], 'log').values.data).toEqual(Float32Array.of(1, 2));
  });

  it('have the axes exchanged where the view says so', () => {
    const bytes = new Uint8Array([0, 1, 2, 3, 4, 5]);
    const slice = { dtype: '|u1', shape: [2, 3], size: 6, bytes, range: null };
    expect([...picture(slice, true, 'amplitude').values]).toEqual([0, 3, 1, 4, 2, 5]);
  });
});

describe('notes', () => {
  const stats = { count: 4, nonfinite: 0, approx: false, min: -1, max: 3, mean: 1, std: 1 };
  const more = { p_low: -1, p_high: 3, positive_min: 1, histogram: null };

  it('say what a scale leaves out', () => {
    expect(missingNote({ ...stats, ...more }, 'linear')).toBeNull();
    expect(missingNote({ ...stats, ...more }, 'log')).toMatch(/zero and below/);
    expect(missingNote({ ...stats, ...more }, 'sqrt')).toMatch(/below zero/);
    expect(missingNote({ ...stats, ...more, min: null }, 'linear')).toMatch(/nothing to draw/);
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
