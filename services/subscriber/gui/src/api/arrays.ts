/** Decoding of raw slices: bytes as the server's `/api/view` sends them, into typed arrays and exact cell texts. */
import { itemSize, kindOf, recordFields, unitOf, type Field, type WireDtype } from './dtype';

export type Numbers =
  Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array;

export interface Slice {
  dtype: WireDtype;
  shape: number[];
  /** Number of elements. */
  size: number;
  /** Unshuffled little-endian bytes in C order. */
  bytes: Uint8Array;
  /** Least and greatest finite value, where the dtype has numbers. */
  range: [number, number] | null;
}

/** Undo the byte shuffle: byte k of every element is stored together. */
export function unshuffle(bytes: Uint8Array, size: number): Uint8Array {
  const count = bytes.length / size;
  const out = new Uint8Array(bytes.length);
  for (let k = 0; k < size; k++) {
    const plane = k * count;
    for (let i = 0, at = k; i < count; i++, at += size) out[at] = bytes[plane + i] as number;
  }
  return out;
}

export function decode(
  buffer: ArrayBuffer,
  dtype: WireDtype,
  shape: number[],
  shuffled: boolean,
  range: [number, number] | null,
): Slice {
  const size = shape.reduce((product, length) => product * length, 1);
  const raw = new Uint8Array(buffer);
  const expected = size * itemSize(dtype);
  if (raw.length !== expected) {
    throw new Error(`the server sent ${raw.length} bytes where ${expected} belong to the slice`);
  }
  return { dtype, shape, size, bytes: shuffled ? unshuffle(raw, itemSize(dtype)) : raw, range };
}

/** The numbers of a slice in the type they are stored in; 64-bit integers as float64, complex as amplitude. */
export function numbers(slice: Slice): Numbers {
  const { dtype, bytes } = slice;
  const buffer = bytes.byteOffset % 8 === 0 ? bytes.buffer : bytes.slice().buffer;
  const offset = bytes.byteOffset % 8 === 0 ? bytes.byteOffset : 0;
  const n = slice.size;
  switch (String(dtype).slice(1)) {
    case 'b1':
    case 'u1':
      return bytes;
    case 'i1':
      return new Int8Array(buffer, offset, n);
    case 'i2':
      return new Int16Array(buffer, offset, n);
    case 'u2':
      return new Uint16Array(buffer, offset, n);
    case 'i4':
      return new Int32Array(buffer, offset, n);
    case 'u4':
      return new Uint32Array(buffer, offset, n);
    case 'f4':
      return new Float32Array(buffer, offset, n);
    case 'f8':
      return new Float64Array(buffer, offset, n);
    case 'i8':
      return Float64Array.from(new BigInt64Array(buffer, offset, n), Number);
    case 'u8':
      return Float64Array.from(new BigUint64Array(buffer, offset, n), Number);
    case 'c8':
      return amplitudes(new Float32Array(buffer, offset, 2 * n));
    case 'c16':
      return amplitudes(new Float64Array(buffer, offset, 2 * n));
    default:
      throw new Error(`values of type ${JSON.stringify(dtype)} cannot be plotted`);
  }
}

function amplitudes(pairs: Float32Array | Float64Array): Float64Array {
  const out = new Float64Array(pairs.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Math.hypot(pairs[2 * i] as number, pairs[2 * i + 1] as number);
  return out;
}

/** Phase in radians of every element of a complex slice. */
export function phases(slice: Slice): Float64Array {
  const view = new DataView(slice.bytes.buffer, slice.bytes.byteOffset, slice.bytes.byteLength);
  const wide = itemSize(slice.dtype) === 16;
  const out = new Float64Array(slice.size);
  for (let i = 0; i < out.length; i++) {
    out[i] = wide
      ? Math.atan2(view.getFloat64(16 * i + 8, true), view.getFloat64(16 * i, true))
      : Math.atan2(view.getFloat32(8 * i + 4, true), view.getFloat32(8 * i, true));
  }
  return out;
}

/** Numbers as WebGL takes them: float32 or bytes, never uint16, which it would read as half floats. */
export function texture(values: Numbers): Float32Array | Uint8Array {
  return values instanceof Uint8Array || values instanceof Float32Array ? values : Float32Array.from(values);
}

/** Fields of a record slice; one nameless column for everything else. */
export function itemsOf(slice: Slice): (Field | undefined)[] {
  return typeof slice.dtype === 'string' ? [undefined] : recordFields(slice.dtype);
}

/** Exact text of element `index` of a slice, or of one field of it. */
export function cellText(slice: Slice, index: number, field?: Field): string {
  const view = new DataView(slice.bytes.buffer, slice.bytes.byteOffset, slice.bytes.byteLength);
  const start = index * itemSize(slice.dtype) + (field?.offset ?? 0);
  const dtype = field?.dtype ?? slice.dtype;
  if (!field || field.count === 1) return valueText(view, start, dtype);
  const size = itemSize(dtype);
  return `[${Array.from({ length: field.count }, (_, i) => valueText(view, start + i * size, dtype)).join(', ')}]`;
}

const REAL: Record<string, (view: DataView, at: number) => number | bigint> = {
  i1: (view, at) => view.getInt8(at),
  u1: (view, at) => view.getUint8(at),
  i2: (view, at) => view.getInt16(at, true),
  u2: (view, at) => view.getUint16(at, true),
  i4: (view, at) => view.getInt32(at, true),
  u4: (view, at) => view.getUint32(at, true),
  i8: (view, at) => view.getBigInt64(at, true),
  u8: (view, at) => view.getBigUint64(at, true),
  f8: (view, at) => view.getFloat64(at, true),
};

function valueText(view: DataView, at: number, dtype: WireDtype): string {
  if (typeof dtype !== 'string') {
    const inner = recordFields(dtype).map((field) => `${field.name}: ${fieldText(view, at, field)}`);
    return `{${inner.join(', ')}}`;
  }
  const size = itemSize(dtype);
  switch (kindOf(dtype)) {
    case 'b':
      return view.getUint8(at) ? 'true' : 'false';
    case 'f':
      return size === 4 ? float32Text(view.getFloat32(at, true)) : numberText(view.getFloat64(at, true));
    case 'c':
      return size === 8
        ? complexText(view.getFloat32(at, true), view.getFloat32(at + 4, true), float32Text)
        : complexText(view.getFloat64(at, true), view.getFloat64(at + 8, true), numberText);
    case 'S':
      return new TextDecoder().decode(bytesAt(view, at, size)).replace(/\0+$/, '');
    case 'U':
      return ucs4Text(view, at, size);
    case 'M':
      return timeText(view.getBigInt64(at, true), unitOf(dtype));
    case 'm':
      return view.getBigInt64(at, true) === NAT ? 'NaT' : `${view.getBigInt64(at, true)} ${unitOf(dtype)}`;
    case 'V':
      return Array.from(bytesAt(view, at, size), (byte) => byte.toString(16).padStart(2, '0')).join('');
    default:
      return String(REAL[dtype.slice(1)]?.(view, at) ?? '?');
  }
}

function fieldText(view: DataView, at: number, field: Field): string {
  const size = itemSize(field.dtype);
  const texts = Array.from({ length: field.count }, (_, i) =>
    valueText(view, at + field.offset + i * size, field.dtype),
  );
  return field.count === 1 ? (texts[0] ?? '') : `[${texts.join(', ')}]`;
}

/** Shortest decimal text that names this float32 and no other. */
export function float32Text(value: number): string {
  if (!Number.isFinite(value)) return numberText(value);
  for (let digits = 6; digits <= 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return numberText(Number(text));
  }
  return numberText(value);
}

export function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return Number.isFinite(value) ? String(value) : value > 0 ? '∞' : '-∞';
}

function complexText(re: number, im: number, text: (value: number) => string): string {
  return `${text(re)}${im < 0 || Object.is(im, -0) ? '-' : '+'}${text(Math.abs(im))}j`;
}

function bytesAt(view: DataView, at: number, size: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, size);
}

function ucs4Text(view: DataView, at: number, size: number): string {
  let text = '';
  for (let i = 0; i < size; i += 4) {
    const code = view.getUint32(at + i, true);
    if (code) text += code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  }
  return text;
}

const NAT = -(2n ** 63n);
const MILLISECONDS: Record<string, [multiply: bigint, divide: bigint]> = {
  W: [604_800_000n, 1n],
  D: [86_400_000n, 1n],
  h: [3_600_000n, 1n],
  m: [60_000n, 1n],
  s: [1000n, 1n],
  ms: [1n, 1n],
  us: [1n, 1000n],
  ns: [1n, 1_000_000n],
};

function timeText(count: bigint, unit: string): string {
  if (count === NAT) return 'NaT';
  if (unit === 'Y') return String(1970n + count);
  if (unit === 'M') {
    const month = ((count % 12n) + 12n) % 12n;
    return `${1970n + (count - month) / 12n}-${String(month + 1n).padStart(2, '0')}`;
  }
  const scale = MILLISECONDS[unit];
  if (!scale) return `${count} ${unit}`;
  const [multiply, divide] = scale;
  const rest = ((count % divide) + divide) % divide;
  const date = new Date(Number(((count - rest) / divide) * multiply));
  if (Number.isNaN(date.getTime())) return `${count} ${unit}`;
  const text = date.toISOString().replace('Z', '');
  if (divide > 1n) return text + String(rest).padStart(String(divide).length - 1, '0');
  return unit === 'D' || unit === 'W' ? text.slice(0, 10) : unit === 'ms' ? text : text.slice(0, 19);
}
