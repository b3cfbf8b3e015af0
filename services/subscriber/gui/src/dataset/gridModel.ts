/** What a table shows: which values stand in which row and column, and from which block they come. */
import { cellText } from '../api/arrays';
import { dtypeLabel, recordFields, type Field, type WireDtype } from '../api/dtype';
import type { Read } from '../api/queries';
import type { Dims } from '../state/view';

export const BLOCK_ROWS = 128;
export const BLOCK_COLUMNS = 32;

export interface Column {
  title: string;
  type: string;
  field: Field | undefined;
  width: number;
  isText: boolean;
}

export interface GridShape {
  rows: number;
  columns: Column[];
  /** Whether columns are fields of records, which every block holds all of. */
  record: boolean;
}

const WIDTH = 108;
const TEXT = /^[<>|=]?[SUV]/;

/** Columns of an array: the fields of a record, or the indices of the column axis. */
export function gridShape(shape: number[], dims: Dims, dtype: WireDtype): GridShape {
  const rows = shape[dims.indexOf('y')] ?? shape[dims.indexOf('x')] ?? 1;
  if (typeof dtype !== 'string') {
    const columns = recordFields(dtype).map((field) => ({
      title: field.name,
      type: dtypeLabel(field.dtype) + (field.count > 1 ? ` × ${field.count}` : ''),
      field,
      width: widthOf(field),
      isText: typeof field.dtype === 'string' && TEXT.test(field.dtype),
    }));
    return { rows, columns, record: true };
  }
  const count = dims.includes('y') ? (shape[dims.indexOf('x')] ?? 1) : 1;
  const isText = TEXT.test(dtype);
  const width = isText
    ? Math.min(Math.max(8 * Number(/\d+/.exec(dtype)?.[0] ?? 8) + 24, WIDTH), 420)
    : /c16|M8|m8/.test(dtype)
      ? 210
      : WIDTH + 12;
  const columns = Array.from({ length: count }, (_, i) => ({
    title: dims.includes('y') ? String(i) : 'value',
    type: dims.includes('y') ? '' : dtypeLabel(dtype),
    field: undefined,
    width,
    isText,
  }));
  return { rows, columns, record: false };
}

function widthOf({ name, dtype, count }: Field): number {
  const chars = Math.max(name.length + dtypeLabel(dtype).length * 0.9, 11) + (count > 1 ? 8 * Math.min(count, 6) : 0);
  const text = typeof dtype === 'string' && TEXT.test(dtype) ? Number(/\d+/.exec(dtype)?.[0] ?? 8) : 0;
  const dates = typeof dtype === 'string' && /^[<>|]?[Mm]8/.test(dtype) ? 21 : 0;
  return Math.min(Math.max(chars, text, dates) * 8 + 26, 420);
}

/** Slice text of the block that holds a cell. */
export function blockSlice(shape: number[], dims: Dims, row: number, column: number, record: boolean): string {
  const from = Math.floor(row / BLOCK_ROWS) * BLOCK_ROWS;
  const left = Math.floor(column / BLOCK_COLUMNS) * BLOCK_COLUMNS;
  const rowAxis = dims.includes('y') ? dims.indexOf('y') : dims.indexOf('x');
  return dims
    .map((item, axis) => {
      if (axis === rowAxis) return `${from}:${Math.min(from + BLOCK_ROWS, shape[axis] ?? 0)}`;
      if (item === 'x') return record ? ':' : `${left}:${Math.min(left + BLOCK_COLUMNS, shape[axis] ?? 0)}`;
      return String(item);
    })
    .join(',');
}

/** Text of one cell from its block. */
export function blockText(read: Read, dims: Dims, row: number, column: number, field: Field | undefined): string {
  const r = row % BLOCK_ROWS;
  if (field || read.shape.length < 2) return cellText(read, r, field);
  const c = column % BLOCK_COLUMNS;
  const transposed = dims.indexOf('x') < dims.indexOf('y');
  const [, inner = 1] = read.shape;
  return cellText(read, transposed ? c * inner + r : r * inner + c);
}
