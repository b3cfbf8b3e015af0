/** Dtypes as the server states them: numpy type strings, or lists of `[name, type, shape?]` for records. */
export type WireDtype = string | WireField[];
export type WireField = [name: string, dtype: WireDtype, shape?: number[]];

export interface Field {
  name: string;
  dtype: WireDtype;
  /** Number of values of a subarray field; 1 for ordinary ones. */
  count: number;
  /** Bytes from the start of the record. */
  offset: number;
}

const NAMES: Record<string, string> = { f: 'float', i: 'int', u: 'uint', c: 'complex' };

/** Bytes of one element. */
export function itemSize(dtype: WireDtype): number {
  if (typeof dtype !== 'string') {
    return dtype.reduce((sum, [, type, shape]) => sum + itemSize(type) * product(shape ?? []), 0);
  }
  const [, kind, size] = parts(dtype);
  return kind === 'U' ? 4 * size : size;
}

/** Kind letter of a type string: b i u f c S U V M m. */
export function kindOf(dtype: WireDtype): string {
  return typeof dtype === 'string' ? parts(dtype)[1] : 'record';
}

export function unitOf(dtype: string): string {
  return /\[(.+)\]/.exec(dtype)?.[1] ?? '';
}

/** Name that a scientist knows: `float32`, `bytes[8]`, `record (6 fields)`. */
export function dtypeLabel(dtype: WireDtype): string {
  if (typeof dtype !== 'string') return `record (${dtype.length} field${dtype.length === 1 ? '' : 's'})`;
  const [, kind, size] = parts(dtype);
  if (kind === 'b') return 'bool';
  if (kind === 'S') return `bytes[${size}]`;
  if (kind === 'U') return `text[${size}]`;
  if (kind === 'V') return `raw[${size}]`;
  if (kind === 'M') return `datetime [${unitOf(dtype)}]`;
  if (kind === 'm') return `timedelta [${unitOf(dtype)}]`;
  return `${NAMES[kind] ?? kind}${size * 8}`;
}

export function recordFields(dtype: WireField[]): Field[] {
  let offset = 0;
  return dtype.map(([name, type, shape]) => {
    const count = product(shape ?? []);
    const field = { name, dtype: type, count, offset };
    offset += itemSize(type) * count;
    return field;
  });
}

/** What `/api/info` calls a dtype (`str(numpy.dtype)`), reduced to what decides how it is shown. */
export function infoKind(dtype: string): 'real' | 'complex' | 'bool' | 'text' | 'record' | 'time' | 'other' {
  if (dtype.startsWith('[') || dtype.startsWith('{')) return 'record';
  if (/^\('/.test(dtype)) return infoKind(/^\('([^']+)'/.exec(dtype)?.[1] ?? '');
  if (/^bool|^[|<>]?b1$/.test(dtype)) return 'bool';
  if (/^(uint|int|float)|^[<>|]?[iuf]\d+$/.test(dtype)) return 'real';
  if (/^complex|^[<>|]?c\d+$/.test(dtype)) return 'complex';
  if (/^[<>|]?[SU]\d*|^(str|bytes)/.test(dtype)) return 'text';
  if (/datetime|timedelta|^[<>|]?[mM]8/.test(dtype)) return 'time';
  return 'other';
}

/** Short label of an info dtype. */
export function infoLabel(dtype: string): string {
  if (!dtype.startsWith('[') && !dtype.startsWith('{')) {
    return /^[<>|=]?[SU]\d+$/.test(dtype) ? dtypeLabel(dtype) : dtype;
  }
  const fields = (dtype.match(/\(\s*'/g) ?? []).length;
  return fields ? `record (${fields} field${fields === 1 ? '' : 's'})` : 'record';
}

function parts(dtype: string): [order: string, kind: string, size: number] {
  const match = /^([<>|=]?)([a-zA-Z])(\d*)/.exec(dtype);
  return [match?.[1] ?? '', match?.[2] ?? 'V', Number(match?.[3] ?? 0)];
}

function product(lengths: number[]): number {
  return lengths.reduce((all, length) => all * length, 1);
}
