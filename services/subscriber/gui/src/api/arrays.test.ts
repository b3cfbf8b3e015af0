import { describe, expect, it } from 'vitest';
import { cellText, decode, float32Text, numbers, texture, unshuffle } from './arrays';
import { recordFields, type WireDtype } from './dtype';

function slice(bytes: ArrayBuffer, dtype: WireDtype, shape: number[]) {
  return decode(bytes, dtype, shape, false, null);
}

describe('raw slices', () => {
  it('undoes the byte shuffle', () => {
    const values = new Uint16Array([1, 258, 65535]);
    const bytes = new Uint8Array(values.buffer);
    const shuffled = new Uint8Array([1, 2, 255, 0, 1, 255]);
    expect(unshuffle(shuffled, 2)).toEqual(bytes);
    expect([...numbers(decode(shuffled.buffer, '<u2', [3], true, null))]).toEqual([1, 258, 65535]);
  });

  it('refuses an answer of the wrong length', () => {
    expect(() => decode(new ArrayBuffer(7), '<f8', [1], false, null)).toThrow(/7 bytes/);
  });

  it('shows 64-bit integers exactly', () => {
    const read = slice(new BigInt64Array([2n ** 60n + 1n]).buffer, '<i8', [1]);
    expect(cellText(read, 0)).toBe('1152921504606846977');
  });

  it('shows single precision with as many digits as it has', () => {
    expect(float32Text(Math.fround(0.1))).toBe('0.1');
    expect(float32Text(Math.fround(16777216))).toBe('16777216');
    expect(float32Text(NaN)).toBe('NaN');
  });

  it('shows text, dates, booleans and complex numbers', () => {
    const text = new Uint32Array([...'ñu'].map((c) => c.codePointAt(0) ?? 0).concat(0));
    expect(cellText(slice(text.buffer, '<U3', [1]), 0)).toBe('ñu');
    expect(cellText(slice(new TextEncoder().encode('ab\0\0').buffer as ArrayBuffer, '|S4', [1]), 0)).toBe('ab');
    expect(cellText(slice(new BigInt64Array([0n]).buffer, '<M8[s]', [1]), 0)).toBe('1970-01-01T00:00:00');
    expect(cellText(slice(new BigInt64Array([-1n]).buffer, '<M8[ns]', [1]), 0)).toBe('1969-12-31T23:59:59.999999999');
    expect(cellText(slice(new BigInt64Array([-(2n ** 63n)]).buffer, '<M8[D]', [1]), 0)).toBe('NaT');
    expect(cellText(slice(new Uint8Array([1]).buffer, '|b1', [1]), 0)).toBe('true');
    expect(cellText(slice(new Float64Array([1, -2]).buffer, '<c16', [1]), 0)).toBe('1-2j');
  });

  it('reads fields of records in place', () => {
    const dtype: WireDtype = [
      ['id', '<i2'],
      ['value', '<f4', [2]],
      ['inner', [['flag', '|b1']]],
    ];
    const view = new DataView(new ArrayBuffer(22));
    view.setInt16(11, -7, true);
    view.setFloat32(13, 0.5, true);
    view.setFloat32(17, 1.5, true);
    view.setUint8(21, 1);
    const read = slice(view.buffer, dtype, [2]);
    expect(recordFields(dtype).map((field) => cellText(read, 1, field))).toEqual(['-7', '[0.5, 1.5]', '{flag: true}']);
  });

  it('never hands 16-bit integers to WebGL, which takes them for half floats', () => {
    expect(texture(new Uint16Array([65535]))).toEqual(new Float32Array([65535]));
  });
});
