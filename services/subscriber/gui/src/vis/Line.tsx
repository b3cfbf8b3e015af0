import {
  AXIS_SCALE_TYPES,
  CurveType,
  DomainWidget,
  KeepZoom,
  LineVis,
  ScaleSelector,
  ScaleType,
  Separator,
  SnapshotBtn,
  ToggleBtn,
  Toolbar,
  useVisCanvasContext,
  useCameraState,
  type AxisScaleType,
} from '@h5web/lib';
import { GridIcon, PointsIcon } from './icons';
import ndarray from 'ndarray';
import { useEffect, useMemo, useState } from 'react';
import { cellText, numbers, phases } from '../api/arrays';
import { useLine, type Read } from '../api/queries';
import { reportCost } from '../state/notices';
import { sliceText, type Dims, type View } from '../state/view';
import * as format from '../ui/format';
import { Figure } from './Figure';
import { PlotKeys } from './PlotKeys';
import { INTERACTIONS, useScaleKey } from './Toolbar';
import { safeDomain } from './picture';

const REREAD_MS = 180;
const SCALES: View['scale'][] = ['linear', 'log', 'symlog'];

interface Props {
  path: string;
  version: string;
  dims: Dims;
  length: number;
  view: View;
  setView: (part: Partial<View>, replace?: boolean) => void;
  units: string;
  complex: boolean;
  /** The bar above, which also holds the choice of plots. */
  bar: (tools: JSX.Element) => JSX.Element;
}

/** A line with its true extremes at any zoom: the server sends min/max pairs, and details again when zoomed. */
export function Line({ path, version, dims, length, view, setView, units, complex, bar }: Props) {
  const [window, setWindow] = useState<[number, number]>([0, length]);
  const axis = dims.indexOf('x');
  const text = (from: number, to: number) =>
    dims.map((item) => (item === 'x' ? (from === 0 && to === length ? ':' : `${from}:${to}`) : item)).join(',');
  const whole = useLine(path, version, sliceText(dims));
  const isDetail = window[0] > 0 || window[1] < length;
  const detail = useLine(path, version, text(...window), isDetail && (whole.data?.step ?? 1) > 1);
  const read = isDetail && detail.data && !detail.isPlaceholderData ? detail.data : whole.data;
  const error = whole.error ?? detail.error;

  useEffect(() => setWindow([0, length]), [path, version, length, axis]);
  useEffect(() => {
    if (read) reportCost(read.cost);
  }, [read]);
  useScaleKey(view, setView, SCALES);
  const scale = view.scale === 'sqrt' ? 'linear' : view.scale;
  const start = read === whole.data ? 0 : window[0];
  const points = useMemo(() => (read ? pointsOf(read, start, view.part) : null), [read, start, view.part]);
  const whole_ = useMemo(
    () => (whole.data ? extent(pointsOf(whole.data, 0, view.part).values) : null),
    [whole.data, view.part],
  );
  const data = safeDomain(whole_?.min ?? 0, whole_?.max ?? 1, scale, whole_?.positive ?? null);
  const hidden = scale === 'log' && whole_ !== null && whole_.min <= 0;
  const [from, to] = view.dom ?? [null, null];
  const domain = safeDomain(from ?? data[0], to ?? data[1], scale, whole_?.positive ?? null);

  return (
    <>
      {bar(
        <div className="h5w">
          <Toolbar interactions={INTERACTIONS}>
            <DomainWidget
              dataDomain={data}
              customDomain={view.dom ?? [null, null]}
              scaleType={LINE_SCALE[scale]}
              onCustomDomainChange={(dom) => setView({ dom: dom[0] === null && dom[1] === null ? null : dom })}
            />
            <Separator />
            <ScaleSelector
              label="Y"
              value={LINE_SCALE[scale] as AxisScaleType}
              onScaleChange={(chosen) => setView({ scale: SCALES.find((name) => LINE_SCALE[name] === chosen) })}
              options={AXIS_SCALE_TYPES}
            />
            {complex ? (
              <ToggleBtn
                label="Phase"
                value={view.part === 'phase'}
                onToggle={() => setView({ part: view.part === 'phase' ? 'amplitude' : 'phase', dom: null })}
              />
            ) : (
              <></>
            )}
            <ToggleBtn
              label="Points"
              Icon={PointsIcon}
              value={view.points}
              onToggle={() => setView({ points: !view.points })}
            />
            <ToggleBtn label="Grid" Icon={GridIcon} value={!view.grid} onToggle={() => setView({ grid: !view.grid })} />
            <SnapshotBtn />
          </Toolbar>
        </div>,
      )}
      <div
        className={whole.isFetching || detail.isFetching ? 'vis-area loading' : 'vis-area'}
        aria-busy={whole.isFetching}
      >
        {hidden && <p className="vis-note notice">Values of zero and below are not drawn on a logarithmic scale.</p>}
        {error && (
          <p className="vis-note notice bad" role="alert">
            {error.message}{' '}
            <button type="button" className="btn small" onClick={() => void (whole.error ? whole : detail).refetch()}>
              Try again
            </button>
          </p>
        )}
        {points && read && points.values.length > 0 && (
          <Figure label={`${path}[${sliceText(dims)}]`}>
            <LineVis
              className="h5w"
              dataArray={ndarray(points.values, [points.values.length])}
              domain={domain}
              scaleType={LINE_SCALE[scale] as AxisScaleType}
              curveType={view.points ? CurveType.LineAndGlyphs : CurveType.LineOnly}
              showGrid={!view.grid}
              abscissaParams={{ label: `index on D${axis}`, value: points.positions }}
              ordinateLabel={units || 'value'}
              renderTooltip={({ xi }) => (
                <>
                  D{axis}={Math.floor(points.positions[xi] ?? 0)}
                  {read.step > 1 && ` … ${Math.min(Math.floor(points.positions[xi] ?? 0) + read.step - 1, length - 1)}`}
                  <div>
                    <strong data-testid="pixel">{pointText(read, xi, complex, points.values)}</strong> {units}
                  </div>
                </>
              )}
            >
              <WatchZoom length={length} onWindow={setWindow} />
              <KeepZoom visKey={`${path}:${axis}`} />
              <PlotKeys />
            </LineVis>
          </Figure>
        )}
        {points?.values.length === 0 && <p className="center-page muted">This line has no values.</p>}
        {!points && !error && <div className="skeleton grow" style={{ margin: 24 }} />}
      </div>
    </>
  );
}

const LINE_SCALE: Record<View['scale'], AxisScaleType> = {
  linear: ScaleType.Linear,
  log: ScaleType.Log,
  symlog: ScaleType.SymLog,
  sqrt: ScaleType.Linear,
};

interface Points {
  positions: Float64Array;
  values: Float64Array;
}

/** Points of a curve: the values, or for pairs first the least, then the greatest of every group. */
export function pointsOf(read: Read, start: number, part: View['part']): Points {
  const complex = read.dtype === '<c8' || read.dtype === '<c16';
  const flat = complex && part === 'phase' ? phases(read) : numbers(read);
  const values = flat instanceof Float64Array ? flat : Float64Array.from(flat);
  const positions = new Float64Array(values.length);
  const perGroup = read.step > 1 ? 2 : 1;
  for (let i = 0; i < positions.length; i++) {
    positions[i] = start + Math.floor(i / perGroup) * read.step + (perGroup === 2 && i % 2 ? read.step / 2 : 0);
  }
  return { positions, values };
}

function pointText(read: Read, index: number, complex: boolean, values: Float64Array): string {
  return complex ? format.number(values[index] ?? NaN) : cellText(read, index);
}

function extent(values: Float64Array): { min: number; max: number; positive: number | null } {
  let min = Infinity;
  let max = -Infinity;
  let positive = Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < min) min = value;
    if (value > max) max = value;
    if (value > 0 && value < positive) positive = value;
  }
  return { min, max, positive: Number.isFinite(positive) ? positive : null };
}

/** Tells which part of the axis is in view, once the person rests. */
function WatchZoom({ length, onWindow }: { length: number; onWindow: (window: [number, number]) => void }) {
  const { getVisibleDomains } = useVisCanvasContext();
  const [low, high] = useCameraState(
    (camera) => getVisibleDomains(camera).xVisibleDomain,
    [getVisibleDomains],
    (a, b) => a[0] === b[0] && a[1] === b[1],
  );
  useEffect(() => {
    const timer = globalThis.setTimeout(() => {
      const margin = (high - low) * 0.05;
      const from = Math.max(0, Math.floor(low - margin));
      const to = Math.min(length, Math.ceil(high + margin) + 1);
      if (to > from) onWindow(from === 0 && to === length ? [0, length] : [from, to]);
    }, REREAD_MS);
    return () => globalThis.clearTimeout(timer);
  }, [low, high, length, onWindow]);
  return null;
}
