import { describe, expect, it } from 'vitest';
import { formatView, isTransposed, parseView, resolveDims, sliceText } from './view';

const parse = (query: string) => parseView(new URLSearchParams(query));

describe('the address', () => {
  it('holds a view and gives it back', () => {
    const query =
      'tab=table&vis=heatmap&dims=128,y,x&cmap=Inferno&inv=1&scale=log&dom=1:20&auto=0&ratio=auto&up=1&grid=1&with=lab/a.b2nd%5B3,:%5D';
    expect(formatView(parse(query))).toBe(query);
  });

  it('leaves defaults out and forgives nonsense', () => {
    expect(formatView(parse(''))).toBe('');
    expect(formatView(parse('tab=nope&scale=cubic&dims=a,b&dom=x:y'))).toBe('');
  });

  it('finds dims that fit the shape', () => {
    expect(resolveDims(null, [256, 512, 512], 2)).toEqual([128, 'y', 'x']);
    expect(resolveDims(['x', 3, 'y'], [5, 5, 5], 2)).toEqual(['x', 3, 'y']);
    expect(resolveDims([99, 'y', 'x'], [20, 5, 5], 2)).toEqual([19, 'y', 'x']);
    expect(resolveDims(['y', 'x'], [4, 5, 6], 2)).toEqual([2, 'y', 'x']);
    expect(resolveDims([3, 'y', 'x'], [9, 8, 7], 1)).toEqual([3, 4, 'x']);
    expect(resolveDims(null, [1000, 1], 1)).toEqual(['x', 0]);
    expect(resolveDims(null, [7, 1, 9], 2)).toEqual(['y', 0, 'x']);
    expect(resolveDims(null, [1, 1], 2)).toEqual(['y', 'x']);
    expect(sliceText([128, 'y', 'x'])).toBe('128,:,:');
    expect(isTransposed(['x', 3, 'y'])).toBe(true);
  });
});
