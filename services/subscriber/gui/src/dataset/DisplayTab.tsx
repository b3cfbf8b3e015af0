import '@h5web/lib/styles.css';
import { KeepZoomProvider, type ColorMap, INTERPOLATORS } from '@h5web/lib';
import { useQueryClient } from '@tanstack/react-query';
import { Activity, Columns2, Image, Palette } from 'lucide-react';
import { Fragment, useEffect, type ReactNode } from 'react';
import { cellText, itemsOf } from '../api/arrays';
import { infoKind } from '../api/dtype';
import { sliceQuery, useSlice, useStatistics } from '../api/queries';
import { reportCost } from '../state/notices';
import { useSettings } from '../state/settings';
import { isTransposed, sliceText, type Dims, type Vis } from '../state/view';
import { Heatmap } from '../vis/Heatmap';
import { Line } from '../vis/Line';
import { Ortho } from '../vis/Ortho';
import { defaultMap, domainsOf, joined, missingNote } from '../vis/picture';
import { Rgb, RgbToolbar } from '../vis/Rgb';
import { Tiled } from '../vis/Tiled';
import { PictureToolbar } from '../vis/Toolbar';
import { hasWebgl } from '../vis/webgl';
import type { Opened } from './DatasetPage';
import { attributes } from './Header';
import { chosenVis, isTiled, shownDims, visesOf } from './selection';
import { SliceBar } from './SliceBar';
import TableTab from './TableTab';

const NEIGHBOURS = [1, -1, 2, -2];

const VIS: Partial<Record<Vis, [string, typeof Image]>> = {
  heatmap: ['Heatmap', Image],
  line: ['Line', Activity],
  ortho: ['Orthogonal', Columns2],
  rgb: ['Colour', Palette],
};

/** An array as a picture, a line, planes, a value or, where nothing else fits, a table. */
export default function DisplayTab({ opened }: { opened: Opened }) {
  const shape = opened.info.shape ?? [];
  const vis = chosenVis(opened);
  if (shape.some((length) => length === 0)) {
    return <p className="center-page muted">This dataset has no values: one of its axes has length 0.</p>;
  }
  if (vis === 'scalar') return <ScalarDisplay opened={opened} />;
  if (vis === 'table') return <TableTab opened={opened} />;
  if (!hasWebgl()) {
    return (
      <>
        <p className="notice" style={{ margin: 12 }} role="status">
          This browser cannot draw: WebGL is missing or switched off. These are the values.
        </p>
        <TableTab opened={opened} />
      </>
    );
  }
  return (
    <KeepZoomProvider>
      <Plot key={vis} opened={opened} vis={vis} />
    </KeepZoomProvider>
  );
}

function Plot({ opened, vis }: { opened: Opened; vis: Vis }) {
  const { path, version, info, view, setView } = opened;
  const shape = info.shape ?? [];
  const dims = shownDims(opened);
  const units = String(attributes(info)['units'] ?? '');
  const complex = infoKind(info.dtype ?? '') === 'complex';
  const bar = (tools: ReactNode) => (
    <div className="vis-bar">
      <VisPicker
        vises={visesOf(info)}
        vis={vis}
        onChoose={(next) => setView({ vis: next, dims: null, dom: null }, false)}
      />
      {tools}
    </div>
  );
  if (vis === 'line') {
    const length = shape[dims.indexOf('x')] ?? 0;
    return (
      <>
        <Line
          path={path}
          version={version}
          dims={dims}
          length={length}
          view={view}
          setView={setView}
          units={units}
          complex={complex}
          bar={(tools) => bar(tools)}
        />
        {shape.length > 1 && (
          <SliceBar
            shape={shape}
            dims={dims}
            pickers
            ready
            onChange={(next, replace) => setView({ dims: next }, replace)}
          />
        )}
      </>
    );
  }
  if (vis === 'ortho') return <OrthoPlot opened={opened} units={units} bar={bar} />;
  if (vis === 'rgb') return <RgbPlot opened={opened} dims={dims} bar={bar} />;
  return <PlanePlot opened={opened} dims={dims} units={units} complex={complex} bar={bar} />;
}

interface VisPickerProps {
  vises: Vis[];
  vis: Vis;
  onChoose: (vis: Vis) => void;
}

function VisPicker({ vises, vis, onChoose }: VisPickerProps) {
  return (
    <div className="seg" role="radiogroup" aria-label="Kind of picture">
      {vises.map((name) => {
        const [label = name, Icon = Image] = VIS[name] ?? [];
        return (
          <button key={name} type="button" role="radio" aria-checked={name === vis} onClick={() => onChoose(name)}>
            <Icon aria-hidden /> {label}
          </button>
        );
      })}
    </div>
  );
}

function useColorMap(opened: Opened): ColorMap {
  const { colorMap } = useSettings();
  const { view, info } = opened;
  if (view.part === 'phase' && !view.cmap) return 'HSL';
  const wanted = view.cmap ?? defaultMap(info.shape ?? [], colorMap);
  return wanted in INTERPOLATORS ? (wanted as ColorMap) : 'Viridis';
}

interface PlotProps {
  opened: Opened;
  bar: (tools: ReactNode) => ReactNode;
}

function PlanePlot({ opened, dims, units, complex, bar }: PlotProps & { dims: Dims; units: string; complex: boolean }) {
  const { path, version, info, view, setView } = opened;
  const shape = info.shape ?? [];
  const [rows = 1, columns = 1] = [shape[dims.indexOf('y')], shape[dims.indexOf('x')]];
  const tiled = isTiled(opened);
  const text = sliceText(dims);
  const slice = useSlice(path, version, text, !tiled);
  const stats = useStatistics(path, version, text);
  const colorMap = useColorMap(opened);
  usePrefetch(path, version, dims, shape, !tiled && slice.isSuccess && !slice.isPlaceholderData);
  useEffect(() => {
    if (slice.data && !slice.isPlaceholderData) reportCost(slice.data.cost);
  }, [slice.data, slice.isPlaceholderData]);
  // Colours of a stack stay while the next slice is on its way.
  const domains = domainsOf(view, stats.data, slice.data?.range ?? null);
  const current = !slice.isPlaceholderData;
  const note = slice.error || view.part === 'phase' ? null : missingNote(stats.data, view.scale);
  const read = slice.data && slice.data.shape.length === 2 ? slice.data : undefined;
  return (
    <>
      {bar(
        <PictureToolbar
          view={view}
          setView={setView}
          domains={domains}
          colorMap={colorMap}
          stats={stats.data}
          complex={complex}
        />,
      )}
      {note && current && <p className="vis-strip">{note}</p>}
      <div
        className={slice.isFetching && slice.isPlaceholderData ? 'vis-area loading' : 'vis-area'}
        aria-busy={slice.isFetching}
      >
        {slice.isFetching && slice.data && slice.isPlaceholderData && (
          <span className="vis-note chip">Loading slice…</span>
        )}
        {slice.error && (
          <p className="vis-note notice bad" role="alert">
            {slice.error.message}{' '}
            <button type="button" className="btn small" onClick={() => void slice.refetch()}>
              Try again
            </button>
          </p>
        )}
        {tiled ? (
          stats.data || stats.error ? (
            <Tiled
              path={path}
              version={version}
              dims={dims}
              rows={rows}
              columns={columns}
              view={view}
              domains={domains}
              colorMap={colorMap}
              units={units}
              isWide={/64|32/.test(info.dtype ?? '') && info.dtype !== 'float32'}
            />
          ) : (
            <div className="skeleton grow making" style={{ margin: 24 }} role="status">
              A small copy of this large picture is made where its chunks are. That is done once for each version.
            </div>
          )
        ) : read ? (
          <Heatmap
            read={read}
            dims={dims}
            view={view}
            domains={domains}
            colorMap={colorMap}
            path={path}
            units={units}
          />
        ) : (
          !slice.error && <div className="skeleton grow" style={{ margin: 24 }} aria-label="Loading" />
        )}
      </div>
      {shape.length > 2 || isTransposed(dims) ? (
        <SliceBar
          shape={shape}
          dims={dims}
          pickers
          ready={current || slice.isError}
          onChange={(next, replace) => setView({ dims: next }, replace)}
        />
      ) : null}
    </>
  );
}

/** Read the neighbouring slices while the person looks at this one. */
function usePrefetch(path: string, version: string, dims: Dims, shape: number[], ready: boolean): void {
  const client = useQueryClient();
  const text = sliceText(dims);
  useEffect(() => {
    const axis = dims.findIndex((item) => typeof item === 'number');
    if (!ready || axis < 0) return;
    for (const by of NEIGHBOURS) {
      const index = (dims[axis] as number) + by;
      if (index < 0 || index >= (shape[axis] ?? 0)) continue;
      const next = dims.map((item, i) => (i === axis ? index : item));
      void client.prefetchQuery(sliceQuery(path, version, sliceText(next)));
    }
  }, [client, path, version, text, ready]); // eslint-disable-line
}

function OrthoPlot({ opened, units, bar }: PlotProps & { units: string }) {
  const { path, version, info, view, setView } = opened;
  const shape = info.shape ?? [];
  const n = shape.length;
  const axes: [number, number, number] = [n - 3, n - 2, n - 1];
  const at = shape.map((length, axis) => {
    const given = view.dims?.length === n ? view.dims[axis] : undefined;
    return typeof given === 'number' ? Math.min(given, length - 1) : Math.floor(length / 2);
  });
  // Colours that hold for all three planes; while a plane moves they stay as they are.
  const across = (normal: number) =>
    sliceText(at.map((index, axis) => (axis === normal || !axes.includes(axis) ? index : 'x')));
  const stats = joined([
    useStatistics(path, version, across(axes[0])).data,
    useStatistics(path, version, across(axes[1])).data,
    useStatistics(path, version, across(axes[2])).data,
  ]);
  const domains = domainsOf(view, stats, null);
  const colorMap = useColorMap(opened);
  const move = (next: number[]) => setView({ dims: next });
  return (
    <>
      {bar(
        <PictureToolbar
          view={view}
          setView={setView}
          domains={domains}
          colorMap={colorMap}
          stats={stats}
          complex={false}
        />,
      )}
      <div className="vis-area">
        <Ortho
          path={path}
          version={version}
          shape={shape}
          axes={axes}
          at={at}
          onMove={move}
          view={view}
          domains={domains}
          colorMap={colorMap}
          units={units}
        />
      </div>
      <SliceBar shape={shape} dims={at} pickers={false} ready onChange={(next) => move(next as number[])} />
    </>
  );
}

function RgbPlot({ opened, dims, bar }: PlotProps & { dims: Dims }) {
  const { path, version, info, view, setView } = opened;
  const shape = info.shape ?? [];
  const slice = useSlice(path, version, sliceText(dims));
  useEffect(() => {
    if (slice.data) reportCost(slice.data.cost);
  }, [slice.data]);
  const read = slice.data?.shape.length === 3 ? slice.data : undefined;
  const [first = 0, second = 1] = dims.flatMap((item, axis) => (typeof item === 'string' ? [axis] : []));
  const names: [string, string] = [`D${first}`, `D${second}`];
  return (
    <>
      {bar(<RgbToolbar view={view} setView={setView} />)}
      <div className="vis-area">
        {read ? (
          <Rgb read={read} view={view} path={path} names={names} />
        ) : (
          !slice.error && <div className="skeleton grow" style={{ margin: 24 }} aria-label="Loading" />
        )}
        {slice.error && (
          <p className="vis-note notice bad" role="alert">
            {slice.error.message}{' '}
            <button type="button" className="btn small" onClick={() => void slice.refetch()}>
              Try again
            </button>
          </p>
        )}
      </div>
      {shape.length > 3 && (
        <SliceBar
          shape={shape.slice(0, -1)}
          dims={dims}
          pickers={false}
          ready={!slice.isPlaceholderData}
          onChange={(next) => setView({ dims: [...next, 0] })}
        />
      )}
    </>
  );
}

function ScalarDisplay({ opened }: { opened: Opened }) {
  const { path, version, info } = opened;
  const shape = info.shape ?? [];
  const { data, error } = useSlice(path, version, '');
  useEffect(() => {
    if (data) reportCost(data.cost);
  }, [data]);
  if (error) {
    return (
      <p className="notice bad" style={{ margin: 24 }} role="alert">
        {error.message}
      </p>
    );
  }
  const units = String(attributes(info)['units'] ?? '');
  const fields = data ? itemsOf(data) : [];
  if (data && fields[0]) {
    return (
      <div className="pad grow" data-testid="scalar">
        <dl className="card scalar-record">
          {fields.map((field) => (
            <Fragment key={field?.name}>
              <dt>{field?.name}</dt>
              <dd className="mono">{cellText(data, 0, field)}</dd>
            </Fragment>
          ))}
        </dl>
      </div>
    );
  }
  return (
    <div className="scalar-value" data-testid="scalar">
      <span>
        {data ? cellText(data, 0) || <span className="muted">(empty text)</span> : '…'}{' '}
        <span className="muted">{units}</span>
      </span>
      {shape.length > 0 && <small className="muted">one value, shape {shape.join(' × ')}</small>}
    </div>
  );
}
