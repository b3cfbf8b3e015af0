/** How a dataset is shown, as it stands in the address: `?tab=&vis=&dims=128,y,x&cmap=&inv=&scale=&dom=lo:hi&…`. */

export type Tab = 'display' | 'table' | 'metadata' | 'chunks';
export type Vis = 'heatmap' | 'line' | 'ortho' | 'rgb' | 'scalar' | 'table';
export type ScaleName = 'linear' | 'log' | 'symlog' | 'sqrt';
/** One item an axis: an index, or the screen axis that it is drawn along. */
export type Dims = (number | 'x' | 'y')[];

export interface View {
  tab: Tab | null;
  vis: Vis | null;
  dims: Dims | null;
  cmap: string | null;
  inv: boolean;
  scale: ScaleName;
  dom: [number | null, number | null] | null;
  /** Whether colours span the central 99 % of the values. */
  clip: boolean;
  ratio: 'equal' | 'auto';
  /** Whether rows grow upwards. */
  up: boolean;
  grid: boolean;
  points: boolean;
  part: 'amplitude' | 'phase';
  rows: string | null;
  sort: string | null;
  field: string | null;
  /** More lines to compare with, each as `ROOT/path[slice]`. */
  others: string[];
}

const SCALES: ScaleName[] = ['linear', 'log', 'symlog', 'sqrt'];
const TABS: Tab[] = ['display', 'table', 'metadata', 'chunks'];
const VISES: Vis[] = ['heatmap', 'line', 'ortho', 'rgb', 'scalar', 'table'];

export function parseView(search: URLSearchParams): View {
  const one = <T extends string>(name: string, allowed: readonly T[]) =>
    allowed.find((value) => value === search.get(name)) ?? null;
  return {
    tab: one('tab', TABS),
    vis: one('vis', VISES),
    dims: parseDims(search.get('dims')),
    cmap: search.get('cmap'),
    inv: search.get('inv') === '1',
    scale: one('scale', SCALES) ?? 'linear',
    dom: parseDomain(search.get('dom')),
    clip: search.get('auto') !== '0',
    ratio: search.get('ratio') === 'auto' ? 'auto' : 'equal',
    up: search.get('up') === '1',
    grid: search.get('grid') === '1',
    points: search.get('points') === '1',
    part: search.get('part') === 'phase' ? 'phase' : 'amplitude',
    rows: search.get('rows'),
    sort: search.get('sort'),
    field: search.get('field'),
    others: search.getAll('with'),
  };
}

/** The query text of a view; defaults are left out. */
export function formatView(view: Partial<View>): string {
  const out = new URLSearchParams();
  if (view.tab && view.tab !== 'display') out.set('tab', view.tab);
  if (view.vis) out.set('vis', view.vis);
  if (view.dims) out.set('dims', view.dims.join(','));
  if (view.cmap) out.set('cmap', view.cmap);
  if (view.inv) out.set('inv', '1');
  if (view.scale && view.scale !== 'linear') out.set('scale', view.scale);
  if (view.dom && view.dom.some((bound) => bound !== null)) out.set('dom', view.dom.map((b) => b ?? '').join(':'));
  if (view.clip === false) out.set('auto', '0');
  if (view.ratio === 'auto') out.set('ratio', 'auto');
  if (view.up) out.set('up', '1');
  if (view.grid) out.set('grid', '1');
  if (view.points) out.set('points', '1');
  if (view.part === 'phase') out.set('part', 'phase');
  if (view.rows) out.set('rows', view.rows);
  if (view.sort) out.set('sort', view.sort);
  if (view.field) out.set('field', view.field);
  for (const other of view.others ?? []) out.append('with', other);
  return out.toString().replaceAll('%2C', ',').replaceAll('%3A', ':').replaceAll('%2F', '/');
}

function parseDims(text: string | null): Dims | null {
  if (!text) return null;
  const dims = text.split(',').map((item) => (item === 'x' || item === 'y' ? item : Number.parseInt(item, 10)));
  return dims.every((item) => typeof item === 'string' || item >= 0) ? dims : null;
}

function parseDomain(text: string | null): View['dom'] {
  if (!text) return null;
  const [low = '', high = ''] = text.split(':');
  const bound = (item: string) => (item !== '' && Number.isFinite(Number(item)) ? Number(item) : null);
  return [bound(low), bound(high)];
}

/** The dims of the address if they fit the shape, else the middle of the leading axes and the last axes drawn. */
export function resolveDims(dims: Dims | null, shape: number[], axes: 1 | 2): Dims {
  const wanted = axes === 1 ? ['x'] : ['y', 'x'];
  const fits =
    dims?.length === shape.length &&
    wanted.every((axis) => dims.filter((item) => item === axis).length === 1) &&
    dims.filter((item) => typeof item === 'string').length === axes;
  if (fits) return dims.map((item, axis) => (typeof item === 'number' ? clamp(item, shape[axis] ?? 1) : item));
  const given = dims?.length === shape.length ? dims : null;
  // The last axes that have something to show: an axis of length 1 is drawn only where there is no other.
  const axesLeft = shape.map((_, axis) => axis);
  const long = axesLeft.filter((axis) => (shape[axis] ?? 0) !== 1);
  const short = axesLeft.filter((axis) => shape[axis] === 1);
  const drawn = [...short, ...long].slice(-axes).sort((a, b) => a - b);
  return shape.map((length, axis) => {
    if (drawn.includes(axis)) return wanted[drawn.indexOf(axis)] as 'x' | 'y';
    const index = given?.[axis];
    return typeof index === 'number' ? clamp(index, length) : Math.floor(length / 2);
  });
}

function clamp(index: number, length: number): number {
  return Math.min(Math.max(index, 0), Math.max(length - 1, 0));
}

/** Slice text of dims, `128,:,:`. */
export function sliceText(dims: Dims): string {
  return dims.map((item) => (typeof item === 'number' ? item : ':')).join(',');
}

/** Whether the picture has rows and columns the other way round than the data. */
export function isTransposed(dims: Dims): boolean {
  return dims.includes('y') && dims.indexOf('x') < dims.indexOf('y');
}
