import { useQueries, useQuery } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState, type FormEvent, type KeyboardEvent } from 'react';
import type { WireDtype, WireField } from '../api/dtype';
import { readView, sliceQuery, type Read } from '../api/queries';
import { isTyping } from '../shell/shortcuts';
import { reportCost } from '../state/notices';
import { settings } from '../state/settings';
import { resolveDims } from '../state/view';
import { copy } from '../ui/copy';
import * as format from '../ui/format';
import type { Opened } from './DatasetPage';
import { BLOCK_COLUMNS, BLOCK_ROWS, blockSlice, blockText, gridShape, type Column, type GridShape } from './gridModel';
import { SliceBar } from './SliceBar';

const ROW = 24;
const HEAD = 26;
const INDEX_WIDTH = 76;
const MAX_HEIGHT = 8_000_000;
const MAX_COPIED = 50_000;

interface Cell {
  row: number;
  column: number;
}

/** Every value, exact, however many there are: blocks are read as they come into view. */
export default function TableTab({ opened }: { opened: Opened }) {
  const { path, version, info, view } = opened;
  const shape = info.shape ?? [];
  // An empty slice tells the exact dtype at no cost.
  const layout = useQuery({
    queryKey: ['layout', path, version],
    queryFn: ({ signal }) => readView('slice', path, { s: shape.length ? '0:0' : '', v: version || undefined }, signal),
    staleTime: Infinity,
  });
  if (layout.error) {
    return (
      <p className="notice bad" style={{ margin: 24 }} role="alert">
        {layout.error.message}
      </p>
    );
  }
  if (!layout.data) return <div className="skeleton grow" style={{ margin: 24 }} />;
  // A subarray dtype adds axes behind those that info names.
  const extra = layout.data.shape.slice(shape.length);
  const whole = [...shape, ...(shape.length ? extra : [])];
  const record = typeof layout.data.dtype !== 'string';
  if (record && shape.length === 1 && (view.rows || view.sort)) {
    return <Selected opened={opened} dtype={layout.data.dtype as WireField[]} />;
  }
  return <Plain opened={opened} shape={whole} dtype={layout.data.dtype} />;
}

function Plain({ opened, shape, dtype }: { opened: Opened; shape: number[]; dtype: WireDtype }) {
  const { path, version, view, setView } = opened;
  const record = typeof dtype !== 'string';
  const dims = resolveDims(view.dims, shape, shape.length > 1 && !record ? 2 : 1);
  const grid = useMemo(() => gridShape(shape, dims, dtype), [shape.join(), dims.join(), JSON.stringify(dtype)]); // eslint-disable-line
  const blocks = useBlocks((row, column) => {
    const s = blockSlice(shape, dims, row, column, record);
    return { key: s, query: sliceQuery(path, version, s) };
  }, grid);
  return (
    <>
      {record && shape.length === 1 ? <RecordBar opened={opened} dtype={dtype as WireField[]} total={null} /> : null}
      <Grid
        label={path}
        grid={grid}
        onView={blocks.show}
        text={(row, column) => {
          const { read, error } = blocks.at(row, column);
          if (error) return { failed: error.message, retry: () => blocks.retry(row, column) };
          return read ? blockText(read, dims, row, column, grid.columns[column]?.field) : null;
        }}
        rowLabel={String}
        onSort={record && shape.length === 1 ? (name) => setView({ sort: name }) : undefined}
        sorted={null}
      />
      {shape.length > (record ? 1 : 2) || (shape.length === 2 && !record) ? (
        <SliceBar
          shape={shape}
          dims={dims}
          pickers
          ready
          onChange={(next, replace) => setView({ dims: next }, replace)}
        />
      ) : null}
    </>
  );
}

/** Records that fit a filter, in the order of a field; the server finds them. */
function Selected({ opened, dtype }: { opened: Opened; dtype: WireField[] }) {
  const { path, version, view, setView } = opened;
  const query = { filter: view.rows ?? undefined, sort: view.sort ?? undefined, v: version || undefined };
  const blockQuery = (from: number) => ({
    queryKey: ['rows', path, version, view.rows, view.sort, from],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      readView('rows', path, { ...query, s: `${from}:${from + BLOCK_ROWS}` }, signal),
    staleTime: Infinity,
  });
  const first = useQuery(blockQuery(0));
  const total = first.data?.total ?? 0;
  const grid = useMemo(() => ({ ...gridShape([total], ['x'], dtype), rows: total }), [total, dtype]);
  const blocks = useBlocks((row) => {
    const from = Math.floor(row / BLOCK_ROWS) * BLOCK_ROWS;
    return { key: String(from), query: blockQuery(from) };
  }, grid);
  const at = (row: number) => blocks.at(row, 0);
  // The first field of an answer is the place of the record in the dataset.
  const indexField = { name: '#', dtype: '<i8', count: 1, offset: 0 };
  return (
    <>
      <RecordBar opened={opened} dtype={dtype} total={first.data ? total : null} />
      {first.error ? (
        <p className="notice bad" style={{ margin: 14 }} role="alert">
          {first.error.message}
        </p>
      ) : (
        <Grid
          label={path}
          grid={grid}
          onView={blocks.show}
          text={(row, column) => {
            const { read, error } = at(row);
            if (error) return { failed: error.message, retry: () => blocks.retry(row, column) };
            const field = grid.columns[column]?.field;
            return read && field ? blockText(read, ['x'], row, 0, { ...field, offset: field.offset + 8 }) : null;
          }}
          rowLabel={(row) => {
            const { read } = at(row);
            return read ? blockText(read, ['x'], row, 0, indexField) : '…';
          }}
          onSort={(name) => setView({ sort: nextSort(view.sort, name) })}
          sorted={view.sort}
        />
      )}
    </>
  );
}

function nextSort(sort: string | null, name: string): string | null {
  if (sort === name) return `-${name}`;
  return sort === `-${name}` ? null : name;
}

function RecordBar({ opened, dtype, total }: { opened: Opened; dtype: WireField[]; total: number | null }) {
  const { view, setView, info } = opened;
  const [typed, setTyped] = useState(view.rows ?? '');
  useEffect(() => setTyped(view.rows ?? ''), [view.rows]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setView({ rows: typed.trim() || null }, false);
  };
  const example = dtype.find(([, type]) => typeof type === 'string' && /[iuf]\d/.test(type))?.[0] ?? 'a';
  return (
    <form className="grid-bar" onSubmit={submit}>
      <label className="row">
        Filter
        <input
          className="input mono"
          style={{ width: 280 }}
          placeholder={`${example} > 0`}
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
          spellCheck={false}
        />
      </label>
      <label className="row">
        Sort by
        <select
          className="input"
          value={view.sort ?? ''}
          onChange={(event) => setView({ sort: event.target.value || null }, false)}
        >
          <option value="">place in the dataset</option>
          {dtype.flatMap(([name]) => [
            <option key={name} value={name}>
              {name} ↑
            </option>,
            <option key={`-${name}`} value={`-${name}`}>
              {name} ↓
            </option>,
          ])}
        </select>
      </label>
      <button className="btn small">Apply</button>
      {total !== null && (
        <span className="muted num" role="status">
          {format.count(total)} of {format.count(info.shape?.[0] ?? 0)} rows
        </span>
      )}
    </form>
  );
}

type BlockOf = (
  row: number,
  column: number,
) => { key: string; query: { queryKey: unknown[]; queryFn: (context: { signal: AbortSignal }) => Promise<Read> } };

/** The blocks that cover what is in view, read when they come into view. */
function useBlocks(blockOf: BlockOf, grid: GridShape) {
  const [span, setSpan] = useState({ from: 0, to: 40, left: 0, right: 12 });
  const wanted = new Map<string, ReturnType<BlockOf>['query']>();
  const columnStep = grid.record ? Infinity : BLOCK_COLUMNS;
  for (let row = span.from; row < Math.min(span.to, grid.rows); row = (Math.floor(row / BLOCK_ROWS) + 1) * BLOCK_ROWS) {
    for (let column = span.left; column < Math.max(span.right, span.left + 1);) {
      const { key, query } = blockOf(row, column);
      wanted.set(key, query);
      column = columnStep === Infinity ? Infinity : (Math.floor(column / columnStep) + 1) * columnStep;
    }
  }
  const keys = [...wanted.keys()];
  const results = useQueries({ queries: [...wanted.values()] });
  const resultAt = (row: number, column: number) => results[keys.indexOf(blockOf(row, column).key)];
  const latest = results.find((result) => result.data)?.data;
  useEffect(() => {
    if (latest) reportCost(latest.cost);
  }, [latest]);
  return {
    show: setSpan,
    at: (row: number, column: number) => {
      const result = resultAt(row, column);
      return { read: result?.data, error: result?.data ? null : (result?.error ?? null) };
    },
    retry: (row: number, column: number) => void resultAt(row, column)?.refetch(),
  };
}

type CellText = string | null | { failed: string; retry: () => void };

interface GridProps {
  label: string;
  grid: GridShape;
  onView: (span: { from: number; to: number; left: number; right: number }) => void;
  text: (row: number, column: number) => CellText;
  rowLabel: (row: number) => string;
  onSort: ((name: string) => void) | undefined;
  sorted: string | null;
}

function offsets(columns: Column[]): number[] {
  const lefts = [0];
  for (const column of columns) lefts.push((lefts.at(-1) as number) + column.width);
  return lefts;
}

function Grid({ label, grid, onView, text, rowLabel, onSort, sorted }: GridProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, left: 0, width: 1000, height: 600 });
  const [cursor, setCursor] = useState<Cell>({ row: 0, column: 0 });
  const [anchor, setAnchor] = useState<Cell | null>(null);
  const { rows, columns } = grid;
  const lefts = useMemo(() => offsets(columns), [columns]);
  const full = rows * ROW;
  const height = Math.min(full, MAX_HEIGHT);
  // Browsers limit the height of an element: beyond it, the scroll bar is stretched over the rows.
  const visible = Math.max(1, Math.ceil((view.height - HEAD) / ROW));
  const scroll = height > view.height ? view.top / (height + HEAD - view.height) : 0;
  const first = full <= MAX_HEIGHT ? Math.floor(view.top / ROW) : Math.round(scroll * Math.max(rows - visible + 1, 0));
  const base = full <= MAX_HEIGHT ? first * ROW : view.top;
  const last = Math.min(first + visible + 1, rows);
  const from = Math.max(0, lefts.findIndex((left) => left > view.left) - 1);
  const right = lefts.findIndex((left) => left > view.left + view.width - INDEX_WIDTH);
  const to = right < 0 ? columns.length : Math.min(right, columns.length);

  useEffect(() => onView({ from: first, to: last, left: from, right: to }), [first, last, from, to]); // eslint-disable-line
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const measure = () => setView((now) => ({ ...now, width: element.clientWidth, height: element.clientHeight }));
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  function goTo(row: number, column: number, extend = false) {
    const next = {
      row: Math.min(Math.max(row, 0), rows - 1),
      column: Math.min(Math.max(column, 0), columns.length - 1),
    };
    setAnchor(extend ? (anchor ?? cursor) : null);
    setCursor(next);
    const element = box.current;
    if (!element) return;
    if (next.row < first || next.row >= first + visible - 1) {
      const target = next.row < first ? next.row : Math.max(next.row - visible + 2, 0);
      element.scrollTop =
        full <= MAX_HEIGHT ? target * ROW : (target / Math.max(rows - visible + 1, 1)) * (height + HEAD - view.height);
    }
    const left = lefts[next.column] ?? 0;
    const end = lefts[next.column + 1] ?? left;
    if (left < element.scrollLeft) element.scrollLeft = left;
    else if (end > element.scrollLeft + element.clientWidth - INDEX_WIDTH) {
      element.scrollLeft = end - element.clientWidth + INDEX_WIDTH;
    }
  }

  function onKey(event: KeyboardEvent) {
    const { row, column } = cursor;
    if ((event.ctrlKey || event.metaKey) && event.key === 'c') {
      copySelection();
      event.preventDefault();
      return;
    }
    const far = event.ctrlKey || event.metaKey;
    const moves: Record<string, [number, number]> = {
      ArrowDown: [far ? rows - 1 : row + 1, column],
      ArrowUp: [far ? 0 : row - 1, column],
      ArrowRight: [row, far ? columns.length - 1 : column + 1],
      ArrowLeft: [row, far ? 0 : column - 1],
      PageDown: [row + visible - 1, column],
      PageUp: [row - visible + 1, column],
      Home: [far ? 0 : row, 0],
      End: [far ? rows - 1 : row, columns.length - 1],
    };
    const move = moves[event.key];
    if (!move) return;
    goTo(...move, event.shiftKey);
    event.preventDefault();
  }

  const [low, high] = [anchor ?? cursor, cursor];
  const span = {
    top: Math.min(low.row, high.row),
    bottom: Math.max(low.row, high.row),
    left: Math.min(low.column, high.column),
    right: Math.max(low.column, high.column),
  };

  function copySelection() {
    const lines: string[] = [];
    if ((span.bottom - span.top + 1) * (span.right - span.left + 1) > MAX_COPIED) return;
    for (let row = span.top; row <= span.bottom; row++) {
      const cells: string[] = [];
      for (let column = span.left; column <= span.right; column++) {
        const cell = text(row, column);
        cells.push(typeof cell === 'string' ? cell : '');
      }
      lines.push(cells.join('\t'));
    }
    void copy(lines.join('\n'), lines.length === 1 && span.left === span.right ? 'Value' : 'Selection');
  }

  const current = rows > 0 ? text(cursor.row, cursor.column) : null;
  const shownRows = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
  const shownColumns = Array.from({ length: Math.max(to - from, 0) }, (_, i) => from + i);
  const width = (lefts.at(-1) ?? 0) + INDEX_WIDTH;
  return (
    <>
      <GridBar
        rows={rows}
        columns={columns.length}
        cursor={cursor}
        current={typeof current === 'string' ? current : ''}
        onGo={(row) => goTo(row, cursor.column)}
      />
      <div
        ref={box}
        className="grid"
        role="grid"
        tabIndex={0}
        aria-label={`Values of ${label}`}
        aria-rowcount={rows + 1}
        aria-colcount={columns.length + 1}
        aria-activedescendant={`cell-${cursor.row}-${cursor.column}`}
        onScroll={(event) => {
          const { scrollTop, scrollLeft, clientWidth, clientHeight } = event.currentTarget;
          setView({ top: scrollTop, left: scrollLeft, width: clientWidth, height: clientHeight });
        }}
        onKeyDown={onKey}
      >
        <div className="grid-head" role="row" aria-rowindex={1} style={{ width }}>
          <span
            className="grid-index"
            role="columnheader"
            style={{ width: INDEX_WIDTH, height: HEAD, lineHeight: `${HEAD}px` }}
          >
            row
          </span>
          {shownColumns.map((column) => (
            <Heading
              key={column}
              column={columns[column] as Column}
              index={column}
              left={INDEX_WIDTH + (lefts[column] ?? 0)}
              onSort={onSort}
              sorted={sorted}
            />
          ))}
        </div>
        <div role="presentation" style={{ position: 'relative', height, width }}>
          {shownRows.map((row, i) => (
            <div
              key={row}
              className={row % 2 ? 'grid-row odd' : 'grid-row'}
              role="row"
              aria-rowindex={row + 2}
              style={{ top: base + i * ROW, width }}
            >
              <span className="grid-index" role="rowheader" style={{ width: INDEX_WIDTH }}>
                {rowLabel(row)}
              </span>
              {shownColumns.map((column) => {
                const cell = text(row, column);
                const isCursor = row === cursor.row && column === cursor.column;
                const inside = row >= span.top && row <= span.bottom && column >= span.left && column <= span.right;
                const failed = cell !== null && typeof cell === 'object';
                return (
                  <span
                    key={column}
                    id={`cell-${row}-${column}`}
                    role="gridcell"
                    aria-selected={inside}
                    aria-colindex={column + 2}
                    className={classesOf(columns[column]?.isText ?? false, cell, isCursor, inside)}
                    style={{ left: INDEX_WIDTH + (lefts[column] ?? 0), width: columns[column]?.width }}
                    title={failed ? `${cell.failed} Click to try again.` : undefined}
                    onMouseDown={(event) => {
                      if (failed) cell.retry();
                      goTo(row, column, event.shiftKey);
                    }}
                    onMouseEnter={(event) => event.buttons === 1 && goTo(row, column, true)}
                  >
                    {failed ? 'error' : cell}
                  </span>
                );
              })}
            </div>
          ))}
        </div>
      </div>
    </>
  );
}

function classesOf(isText: boolean, cell: CellText, isCursor: boolean, inside: boolean): string {
  return [
    'grid-cell',
    isText && 'text',
    cell === null && 'waiting',
    cell !== null && typeof cell === 'object' && 'failed',
    isCursor && 'cursor',
    inside && !isCursor && 'selected',
  ]
    .filter(Boolean)
    .join(' ');
}

interface HeadingProps {
  column: Column;
  index: number;
  left: number;
  onSort: ((name: string) => void) | undefined;
  sorted: string | null;
}

function Heading({ column, index, left, onSort, sorted }: HeadingProps) {
  const direction = sorted === column.title ? 'ascending' : sorted === `-${column.title}` ? 'descending' : undefined;
  return (
    <span
      className={column.isText ? 'grid-cell text' : 'grid-cell'}
      role="columnheader"
      aria-colindex={index + 2}
      aria-sort={direction}
      style={{ left, width: column.width }}
      title={`${column.title} ${column.type}`.trim()}
    >
      {onSort ? (
        <button type="button" tabIndex={-1} onClick={() => onSort(column.title)}>
          {column.title}
          {direction && (direction === 'ascending' ? ' ↑' : ' ↓')}
        </button>
      ) : (
        column.title
      )}{' '}
      <small>{column.type}</small>
    </span>
  );
}

interface GridBarProps {
  rows: number;
  columns: number;
  cursor: Cell;
  current: string;
  onGo: (row: number) => void;
}

function GridBar({ rows, columns, cursor, current, onGo }: GridBarProps) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (event.key !== 'g' || event.ctrlKey || event.metaKey || isTyping(event.target) || !settings().shortcuts)
        return;
      input.current?.focus();
      input.current?.select();
      event.preventDefault();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
  return (
    <div className="grid-bar">
      <label className="row">
        Go to row
        <input
          ref={input}
          className="input quiet num"
          type="number"
          min={0}
          max={rows - 1}
          defaultValue={0}
          style={{ width: 96 }}
          onKeyDown={(event) => {
            if (event.key === 'Enter') onGo(Number(event.currentTarget.value));
          }}
        />
      </label>
      <span className="muted num grow">
        {format.count(rows)} rows × {format.count(columns)} columns
      </span>
      <span className="mono" aria-live="polite" data-testid="cell">
        <span className="muted">
          cell [{cursor.row}, {cursor.column}]
        </span>{' '}
        <b>{current}</b>
      </span>
    </div>
  );
}
