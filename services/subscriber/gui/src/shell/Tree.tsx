import { useQueries, useQuery, useQueryClient, type QueryClient, type UseQueryResult } from '@tanstack/react-query';
import { ChevronRight, CloudOff, Database, Folder, Lock } from 'lucide-react';
import { useDeferredValue, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { listing, listingPages, search, useFound, useRoots } from '../api/queries';
import type { Entry, Listing } from '../api/types';
import { navigate, placeOf } from '../state/location';
import { notify } from '../state/notices';
import { change, useSettings } from '../state/settings';
import { useSubscribe } from '../state/actions';
import * as format from '../ui/format';
import { iconOf } from '../ui/KindIcon';
import { Marked } from '../ui/Marked';
import { foundRows, treeRows, type Known, type Row } from './treeRows';

const ROW = 28;
const KINDS = [
  ['', 'All'],
  ['1d', '1-D'],
  ['2d', '2-D'],
  ['nd', 'n-D'],
  ['table', 'Table'],
  ['file', 'File'],
] as const;

function describe(entry: Entry): string {
  return entry.shape ? format.shortShape(entry.shape) : format.bytes(entry.nbytes);
}

/** Roots, folders and datasets, with a filter over names, types, shapes and attributes. */
export function Tree({ open }: { open: string }) {
  const [filter, setFilter] = useState('');
  const [kind, setKind] = useState('');
  const words = useDeferredValue(filter.trim());
  const filtering = words !== '' || kind !== '';
  const found = useFound(words, kind, filtering);
  const { rows, summary, more, toggle } = useTreeRows(open, filtering, found);
  const { treeWidth } = useSettings();

  return (
    <nav className="tree-pane" aria-label="Datasets">
      <div className="tree-tools">
        <input
          id="tree-filter"
          className="input quiet"
          type="search"
          placeholder="Filter by name, type or shape"
          aria-label="Filter datasets by name, type, shape or attribute"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Escape') setFilter('');
            if (event.key === 'ArrowDown') document.getElementById('tree')?.focus();
          }}
        />
        <div className="kinds" role="group" aria-label="Kinds shown">
          {KINDS.map(([value, label]) => (
            <button key={value} type="button" aria-pressed={kind === value} onClick={() => setKind(value)}>
              {label}
            </button>
          ))}
        </div>
      </div>
      {filtering && found.data && rows.length === 0 ? (
        <p className="tree-note">Nothing matches “{words || kind}”.</p>
      ) : (
        <Rows
          rows={rows}
          list={filtering ? `${kind} ${words}` : ''}
          open={open}
          words={words.split(/\s+/)}
          onMore={more}
          onToggle={toggle}
        />
      )}
      <div className="tree-foot">{summary}</div>
      <div
        className="tree-grip"
        onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
        onPointerMove={(event) => {
          if (event.buttons === 1) change({ treeWidth: Math.min(Math.max(event.clientX, 200), 620) });
        }}
        onDoubleClick={() => change({ treeWidth: 300 })}
        aria-hidden
        title={`${treeWidth} px wide; drag to change`}
      />
    </nav>
  );
}

type Expanded = ReadonlySet<string>;
let kept: Expanded = new Set();

function useExpanded(open: string, names: string[]): [Expanded, (path: string, on: boolean) => void] {
  const [expanded, setExpanded] = useState<Expanded>(kept);
  const only = names.length === 1 ? names[0] : undefined;
  useEffect(() => {
    // The open folder shows what is in it; of a dataset, only the folders that lead to it.
    const parts = open.split('/').map((_, i, all) => all.slice(0, i + 1).join('/'));
    const parents = /\.[^./]+$/.test(open) ? parts.slice(0, -1) : parts;
    setExpanded((now) => new Set([...now, ...parents.filter(Boolean), ...(only ? [only] : [])]));
  }, [open, only]);
  kept = expanded;
  return [
    expanded,
    (path, on) =>
      setExpanded((now) => {
        const next = new Set(now);
        if (on) next.add(path);
        else next.delete(path);
        return next;
      }),
  ];
}

interface Tree {
  rows: Row[];
  summary: string;
  more: (row: Row) => void;
  /** Opens and closes folders; null where they lead to what is in them. */
  toggle: ((path: string, on: boolean) => void) | null;
}

const knownOf = (results: UseQueryResult<Listing[]>[]): Known[] =>
  results.map(({ data, error }) => ({ pages: data, error }));

function useTreeRows(open: string, filtering: boolean, found: ReturnType<typeof useFound>): Tree {
  const roots = useRoots();
  const subscribed = useMemo(() => (roots.data ?? []).filter((root) => root.subscribed), [roots.data]);
  const [expanded, toggle] = useExpanded(
    open,
    subscribed.map((root) => root.name),
  );
  const client = useQueryClient();
  const all = useQuery({ queryKey: ['search', 'count'], queryFn: ({ signal }) => search('', 1, signal) });
  const paths = [...expanded].filter((path) =>
    subscribed.some((root) => path === root.name || path.startsWith(`${root.name}/`)),
  );
  const known = useQueries({
    queries: paths.map((path) => ({
      queryKey: ['browse', path],
      queryFn: ({ signal }: { signal: AbortSignal }) => {
        // As much as was there: what somebody scrolled to does not go away when something changes.
        const pages = client.getQueryData<Listing[]>(['browse', path])?.length ?? 1;
        return listingPages(path, pages, signal);
      },
    })),
    combine: knownOf,
  });
  // Rows are made when answers come, and not for every key or change of something else.
  const folders = paths.join('\n');
  const ofTree = useMemo(() => {
    const at = new Map(folders.split('\n').map((path, i) => [path, i]));
    const nothing = { pages: undefined, error: null };
    return treeRows(roots.data ?? [], expanded, (path) => known[at.get(path) ?? -1] ?? nothing, describe);
  }, [roots.data, expanded, folders, known]);
  const pages = found.data?.pages;
  const ofSearch = useMemo(() => {
    const rows = foundRows(pages?.flatMap((page) => page.entries) ?? [], describe);
    return found.hasNextPage ? [...rows, lastNote(rows.length)] : rows;
  }, [pages, found.hasNextPage]);

  if (filtering) {
    return {
      rows: ofSearch,
      summary: found.isFetching ? 'Searching…' : `${format.count(pages?.[0]?.total ?? 0)} found`,
      more: () => found.isFetching || void found.fetchNextPage(),
      toggle: null,
    };
  }
  return {
    rows: ofTree,
    summary: roots.data
      ? all.data
        ? `${format.count(all.data.total)} datasets and files in ${subscribed.length} roots`
        : ''
      : 'Loading…',
    more: (row) => void nextPage(client, row.path),
    toggle,
  };
}

function lastNote(index: number): Row {
  return {
    key: `more-${index}`,
    type: 'more',
    path: '',
    label: 'More…',
    level: 0,
    expanded: null,
    position: 1,
    siblings: 1,
    extra: '',
  };
}

const loading = new Set<string>();

async function nextPage(client: QueryClient, path: string): Promise<void> {
  const pages = client.getQueryData<Listing[]>(['browse', path]) ?? [];
  const after = pages.at(-1)?.next;
  if (!after || loading.has(path)) return;
  loading.add(path);
  try {
    const page = await listing(path, after);
    client.setQueryData(['browse', path], [...pages, page]);
  } catch (error) {
    notify((error as Error).message, 'bad');
  } finally {
    loading.delete(path);
  }
}

interface RowsProps {
  rows: Tree['rows'];
  /** What the rows are of: a search, or the tree where it is empty. */
  list: string;
  open: string;
  words: string[];
  onMore: (row: Row) => void;
  onToggle: Tree['toggle'];
}

function Rows({ rows, list, open, words, onMore, onToggle }: RowsProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ list, top: 0, height: 800 });
  const treeTop = useRef(0);
  const { height } = view;
  // Each search is read from its top; the tree is where it was before.
  const start = list === '' ? treeTop.current : 0;
  const top = view.list === list ? view.top : start;
  const [active, setActive] = useState(0);
  const typed = useRef({ text: '', at: 0 });
  const subscribe = useSubscribe();
  const at = Math.min(active, Math.max(rows.length - 1, 0));

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setView((view) => ({ ...view, height: element.clientHeight })));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (box.current) box.current.scrollTop = start;
    if (list !== '') setActive(0);
  }, [list]); // eslint-disable-line

  const openAt = useMemo(
    () => (open === '' ? -1 : rows.findIndex((row) => row.type !== 'note' && row.path === open)),
    [rows, open],
  );
  useEffect(() => {
    if (openAt < 0) return;
    setActive(openAt);
    reveal(openAt, true);
    // Rows come and go while folders load; only a newly opened dataset moves the tree, once it has a row.
  }, [open, openAt >= 0]); // eslint-disable-line

  // Rows may have become fewer than it takes to scroll so far.
  const from = Math.max(Math.min(top, rows.length * ROW - height), 0);
  const first = Math.max(0, Math.floor(from / ROW) - 8);
  const last = Math.min(rows.length, Math.ceil((from + height) / ROW) + 8);
  // What follows comes when somebody gets there.
  const due = rows.slice(first, last).find((row) => row.type === 'more');
  useEffect(() => {
    if (due) onMore(due);
  }, [due?.key, rows.length]); // eslint-disable-line

  function reveal(index: number, amid = false) {
    const element = box.current;
    if (!element) return;
    const y = index * ROW;
    const hidden = y < element.scrollTop || y + ROW > element.scrollTop + element.clientHeight;
    if (amid) element.scrollTop = hidden ? y - element.clientHeight / 2 : element.scrollTop;
    else if (y < element.scrollTop) element.scrollTop = y;
    else if (y + ROW > element.scrollTop + element.clientHeight) element.scrollTop = y + ROW - element.clientHeight;
  }

  function go(index: number) {
    const next = Math.min(Math.max(index, 0), rows.length - 1);
    setActive(next);
    reveal(next);
  }

  function choose(row: Tree['rows'][number]) {
    if (row.type === 'more') onMore(row);
    else if (row.type === 'entry') navigate(placeOf(row.path));
    else if (row.type === 'folder' || row.type === 'root') {
      if (onToggle && row.expanded !== null) onToggle(row.path, !row.expanded);
      else navigate(placeOf(row.path));
    }
  }

  function onKey(event: KeyboardEvent) {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(height / ROW) - 1, 1);
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      Home: 0,
      End: rows.length - 1,
      PageDown: at + page,
      PageUp: at - page,
    };
    const target = moves[event.key];
    if (target !== undefined) go(target);
    else if (event.key === 'Enter' || event.key === ' ') choose(row);
    else if (event.key === 'ArrowRight') {
      if (row.expanded === false) onToggle?.(row.path, true);
      else if (row.expanded) go(at + 1);
    } else if (event.key === 'ArrowLeft') {
      if (row.expanded) onToggle?.(row.path, false);
      else go(parentIndex(rows, at));
    } else if (event.key === 's' && row.root && !row.root.subscribed) subscribe.mutate(row.path);
    else if (/^[\p{L}\p{N}_.-]$/u.test(event.key)) typeAhead(event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function typeAhead(key: string) {
    const now = Date.now();
    typed.current = { text: now - typed.current.at < 700 ? typed.current.text + key : key, at: now };
    const text = typed.current.text.toLowerCase();
    const order = [...rows.keys()].map((_, i) => (at + (text.length > 1 ? 0 : 1) + i) % rows.length);
    const hit = order.find((i) => rows[i]?.label.toLowerCase().startsWith(text));
    if (hit !== undefined) go(hit);
  }

  return (
    <div
      id="tree"
      ref={box}
      className="tree"
      role="tree"
      tabIndex={0}
      aria-label="Roots, folders and datasets"
      aria-activedescendant={rows[at] ? `tree-${at}` : undefined}
      onScroll={(event) => {
        const { scrollTop, clientHeight } = event.currentTarget;
        if (list === '') treeTop.current = scrollTop;
        setView({ list, top: scrollTop, height: clientHeight });
      }}
      onKeyDown={onKey}
    >
      <div className="tree-space" role="presentation" style={{ height: rows.length * ROW }}>
        {rows.slice(first, last).map((row, i) => (
          <TreeRow
            key={row.key}
            id={`tree-${first + i}`}
            row={row}
            top={(first + i) * ROW}
            active={first + i === at}
            selected={first + i === openAt}
            words={words}
            onChoose={() => {
              setActive(first + i);
              choose(row);
            }}
            onSubscribe={() => subscribe.mutate(row.path)}
          />
        ))}
      </div>
    </div>
  );
}

function parentIndex(rows: Row[], at: number): number {
  const level = rows[at]?.level ?? 0;
  for (let i = at - 1; i >= 0; i--) if ((rows[i]?.level ?? 0) < level) return i;
  return at;
}

interface TreeRowProps {
  id: string;
  row: Row;
  top: number;
  active: boolean;
  selected: boolean;
  words: string[];
  onChoose: () => void;
  onSubscribe: () => void;
}

function TreeRow({ id, row, top, active, selected, words, onChoose, onSubscribe }: TreeRowProps) {
  const Icon = row.entry ? iconOf(row.entry) : row.type === 'folder' ? Folder : rootIcon(row.label);
  const classes = ['tree-row', row.type, active && 'active', selected && 'open-dataset'].filter(Boolean).join(' ');
  return (
    <div
      id={id}
      className={classes}
      role="treeitem"
      aria-level={row.level + 1}
      aria-setsize={row.siblings}
      aria-posinset={row.position}
      aria-expanded={row.expanded ?? undefined}
      aria-selected={selected}
      style={{ top, ['--level' as string]: row.level }}
      title={row.path}
      onClick={onChoose}
    >
      {row.expanded !== null ? <ChevronRight className="twist" aria-hidden /> : <span className="twist" />}
      {row.type !== 'note' && row.type !== 'more' && <Icon className="row-icon" aria-hidden />}
      <span className={row.type === 'note' ? 'name muted' : 'name'}>
        <Marked text={row.label} words={words} />
      </span>
      {row.root?.state === 'offline' && (
        <CloudOff className="row-icon" role="img" aria-label="publisher offline: cached data only" />
      )}
      {row.root && !row.root.subscribed ? (
        <span
          className="btn small"
          onClick={(event) => {
            event.stopPropagation();
            onSubscribe();
          }}
        >
          Subscribe
        </span>
      ) : (
        <span className="extra">{row.extra}</span>
      )}
    </div>
  );
}

function rootIcon(name: string): typeof Folder {
  return name === '@personal' ? Lock : Database;
}
