import { describe, expect, it } from 'vitest';
import * as format from './format';

describe('numbers as people read them', () => {
  it('writes shapes in little room without losing zeros', () => {
    expect(format.shortShape([200_000])).toBe('200k');
    expect(format.shortShape([100_000, 16_384, 512])).toBe('100k×16.4k×512');
    expect(format.shortShape([2_000_000, 3_000_000_000])).toBe('2M×3G');
    expect(format.shortShape([])).toBe('scalar');
  });

  it('gives ticks as many digits as tell them apart', () => {
    const close = format.ticks([12_345, 12_346, 12_347]);
    expect([12_345, 12_346].map(close)).toEqual(['12\u202f345', '12\u202f346']);
    expect([0.1, 0.2, 0.3].map(format.ticks([0.1, 0.2, 0.30000000000000004]))).toEqual(['0.1', '0.2', '0.3']);
    expect([-5e299, 0, 5e299].map(format.ticks([-5e299, 0, 5e299]))).toEqual(['-5e299', '0', '5e299']);
    expect([1e-5, 2e-5].map(format.ticks([1e-5, 2e-5]))).toEqual(['1e-5', '2e-5']);
    expect([1e15, 1e15 + 1e6].map(format.ticks([1e15, 1e15 + 1e6]))).toEqual(['1e15', '1.000000001e15']);
  });

  it('writes values on axes plainly', () => {
    expect(format.tick(4000)).toBe('4\u202f000');
    expect(format.tick(0.1 + 0.2)).toBe('0.3');
    expect(format.tick(-2.5e-12)).toBe('-2.5e-12');
    expect(format.indexTick(1.5)).toBe('');
    expect(format.indexTick(3e9)).toBe('3000\u202fM');
  });

  it('writes bounds with four digits', () => {
    expect(format.bound(65_535)).toBe('65\u202f535');
    expect(format.bound(0.123456)).toBe('0.1235');
    expect(format.bound(1e300)).toBe('1e300');
  });
});
