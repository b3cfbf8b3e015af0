import {
  AXIS_SCALE_TYPES,
  CurveType,
  DataCurve,
  DefaultInteractions,
  DomainWidget,
  extendDomain,
  KeepZoom,
  ResetZoomButton,
  ScaleSelector,
  ScaleType,
  Separator,
  SnapshotBtn,
  ToggleBtn,
  Toolbar,
  TooltipMesh,
  useCameraState,
  useVisCanvasContext,
  VisCanvas,
  type AxisScaleType,
} from '@h5web/lib';
import { GitCompareArrows, Pin, X } from 'lucide-react';
import { useEffect, useMemo, useState } from 'react';
import { useLine } from '../api/queries';
import { reportCost } from '../state/notices';
import { useSettings } from '../state/settings';
import { sliceText, type Dims, type View } from '../state/view';
import * as format from '../ui/format';
import { CompareDialog } from './CompareDialog';
import { extentOf, lengthOf, pointAt, pointsOf, pointText, useOthers, type Curve } from './curves';
import { Figure } from './Figure';
import { GridIcon, PointsIcon } from './icons';
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
  const [choosing, setChoosing] = useState(false);
  // The colour of the line belongs to the theme.
  useSettings();
  const axis = dims.indexOf('x');
  const text = (from: number, to: number) =>
    dims.map((item) => (item === 'x' ? (from === 0 && to === length ? ':' : `${from}:${to}`) : item)).join(',');
  const name = `${path}[${sliceText(dims)}]`;
  const whole = useLine(path, version, sliceText(dims));
  const isDetail = window[0] > 0 || window[1] < length;
  const detail = useLine(path, version, text(...window), isDetail && (whole.data?.step ?? 1) > 1);
  const read = isDetail && detail.data && !detail.isPlaceholderData ? detail.data : whole.data;
  const error = whole.error ?? detail.error;
  const othersWhole = useOthers(view.others, null, view.part);
  const othersDetail = useOthers(isDetail ? view.others : [], window, view.part);
  const others = othersWhole.map((curve, i) =>
    (curve.read?.step ?? 1) > 1 && othersDetail[i]?.points ? othersDetail[i] : curve,
  );

  useEffect(() => setWindow([0, length]), [path, version, length, axis]);
  useEffect(() => {
    if (read) reportCost(read.cost);
  }, [read]);
  useScaleKey(view, setView, SCALES);
  const scale = view.scale === 'sqrt' ? 'linear' : view.scale;
  const start = read === whole.data ? 0 : window[0];
  const points = useMemo(() => (read ? pointsOf(read, start, view.part) : null), [read, start, view.part]);
  const extent = useMemo(() => {
    const own = whole.data ? [pointsOf(whole.data, 0, view.part).values] : [];
    return extentOf([...own, ...othersWhole.flatMap(({ points: other }) => (other ? [other.values] : []))]);
  }, [whole.data, view.part, othersWhole.map(({ read: other }) => other?.cost.slice).join()]); // eslint-disable-line
  const data = safeDomain(extent?.min ?? 0, extent?.max ?? 1, scale, extent?.positive ?? null);
  const [from, to] = view.dom ?? [null, null];
  const domain = safeDomain(from ?? data[0], to ?? data[1], scale, extent?.positive ?? null);
  const longest = Math.max(length, ...othersWhole.map(({ read: other }) => (other ? lengthOf(other) : 0)));
  const own: Curve = { name, colour: ownColour(), read, points: points ?? undefined, error: null };
  const curves = [own, ...others];

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
              value={LINE_SCALE[scale]}
              onScaleChange={(chosen) => setView({ scale: SCALES.find((known) => LINE_SCALE[known] === chosen) })}
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
      <ul className="legend" aria-label="Lines">
        {(curves.length > 1 ? curves : []).map((curve, i) => (
          <LegendEntry
            key={`${i} ${curve.name}`}
            curve={curve}
            onRemove={i > 0 ? () => setView({ others: view.others.filter((_, at) => at !== i - 1) }) : undefined}
          />
        ))}
        <li className="legend-tools">
          {dims.length > 1 && (
            <button
              type="button"
              className="btn plain small"
              disabled={view.others.includes(name)}
              onClick={() => setView({ others: [...view.others, name] })}
            >
              <Pin aria-hidden /> Keep this line
            </button>
          )}
          <button type="button" className="btn plain small" onClick={() => setChoosing(true)}>
            <GitCompareArrows aria-hidden /> Compare…
          </button>
        </li>
      </ul>
      {choosing && (
        <CompareDialog
          onChoose={(line) => {
            setView({ others: [...view.others.filter((other) => other !== line), line] });
            setChoosing(false);
          }}
          onClose={() => setChoosing(false)}
        />
      )}
      {scale === 'log' && extent !== null && extent.min <= 0 && (
        <p className="vis-strip">Values of zero and below are not drawn on a logarithmic scale.</p>
      )}
      {whole.data && extent === null && length > 0 && (
        <p className="vis-strip">There is nothing to draw: none of these values is a finite number.</p>
      )}
      <div
        className={whole.isFetching || detail.isFetching ? 'vis-area loading' : 'vis-area'}
        aria-busy={whole.isFetching}
      >
        {error && (
          <p className="vis-note notice bad" role="alert">
            {error.message}{' '}
            <button type="button" className="btn small" onClick={() => void (whole.error ? whole : detail).refetch()}>
              Try again
            </button>
          </p>
        )}
        {points && read && points.values.length > 0 && (
          <Figure label={curves.map((curve) => curve.name).join(', ')}>
            <VisCanvas
              abscissaConfig={{
                visDomain: extendDomain([0, Math.max(longest - 1, 1)], 0.01),
                showGrid: !view.grid,
                label: `index on D${axis}`,
                formatTick: format.indexTick,
              }}
              ordinateConfig={{
                visDomain: extendDomain(domain, 0.05, LINE_SCALE[scale]),
                showGrid: !view.grid,
                scaleType: LINE_SCALE[scale],
                label: units || 'value',
                formatTick: format.tick,
              }}
            >
              <DefaultInteractions />
              <ResetZoomButton />
              <TooltipMesh
                guides="vertical"
                renderTooltip={(x) => <Values curves={curves} axis={axis} position={x} units={units} length={length} />}
              />
              {[...curves].reverse().map(
                (curve) =>
                  curve.points &&
                  curve.points.values.length > 0 && (
                    <DataCurve
                      key={`${curve.name} ${curve.points.values.length}`}
                      abscissas={curve.points.positions}
                      ordinates={curve.points.values}
                      color={curve.colour}
                      curveType={
                        // A single value is no line: it is drawn as a point.
                        view.points || curve.points.values.length === 1 ? CurveType.LineAndGlyphs : CurveType.LineOnly
                      }
                    />
                  ),
              )}
              <WatchZoom length={longest} onWindow={setWindow} />
              <KeepZoom visKey={`${path}:${axis}`} />
              <PlotKeys />
            </VisCanvas>
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

function ownColour(): string {
  return getComputedStyle(document.documentElement).getPropertyValue('--accent').trim() || '#1d5bb8';
}

function LegendEntry({ curve, onRemove }: { curve: Curve; onRemove: (() => void) | undefined }) {
  return (
    <li>
      <i className="swatch" style={{ background: curve.colour }} aria-hidden />
      <span className="mono">{curve.name}</span>
      {curve.error && (
        <span className="chip bad" role="alert" style={{ marginLeft: 6 }}>
          {curve.error.message}
        </span>
      )}
      {onRemove && (
        <button type="button" className="btn plain icon small" aria-label={`Remove ${curve.name}`} onClick={onRemove}>
          <X aria-hidden />
        </button>
      )}
    </li>
  );
}

interface ValuesProps {
  curves: Curve[];
  axis: number;
  position: number;
  units: string;
  length: number;
}

/** What the lines are where the pointer is. */
function Values({ curves, axis, position, units, length }: ValuesProps) {
  const [own] = curves;
  if (!own?.points || !own.read) return <></>;
  const rounded = Math.min(Math.max(own.read.step > 1 ? position : Math.round(position), 0), length - 1);
  const at = pointAt(own.points, rounded);
  const first = own.points.positions[own.read.step > 1 ? at - (at % 2) : at] ?? 0;
  const last = Math.min(first + own.read.step - 1, length - 1);
  return (
    <>
      D{axis}={first}
      {own.read.step > 1 && ` … ${last}`}
      {curves.map(({ name, colour, read, points }, i) => {
        if (!points || !read || points.values.length === 0) return null;
        const index = pointAt(points, rounded);
        return (
          <div key={`${i} ${name}`}>
            {curves.length > 1 && <i className="swatch" data-keep-colors style={{ background: colour }} />}
            <strong data-testid={i === 0 ? 'pixel' : undefined}>{pointText(read, index, points.values)}</strong>{' '}
            {i === 0 && units}
          </div>
        );
      })}
    </>
  );
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
