import { useCanvasEvent, useVisCanvasContext, DataToHtml, SvgElement, type ColorMap } from '@h5web/lib';
import { Vector3 } from 'three';
import { cellText } from '../api/arrays';
import { useSlice } from '../api/queries';
import { isTransposed, sliceText, type Dims, type View } from '../state/view';
import { Heatmap } from './Heatmap';
import type { Domains } from './picture';

const COLOURS = ['#b9a66a', '#b3766b', '#5b7fa8'];

interface Props {
  path: string;
  version: string;
  shape: number[];
  /** Three axes that are drawn, and the point where the planes meet. */
  axes: [number, number, number];
  at: number[];
  onMove: (at: number[]) => void;
  view: View;
  domains: Domains;
  colorMap: ColorMap;
  units: string;
}

/** Three planes through one point of a volume. */
export function Ortho({ path, version, shape, axes, at, onMove, view, domains, colorMap, units }: Props) {
  const [a, b, c] = axes;
  const plane = (y: number, x: number): Dims => at.map((index, axis) => (axis === y ? 'y' : axis === x ? 'x' : index));
  const planes = [
    { normal: a, y: b, x: c },
    { normal: c, y: b, x: a },
    { normal: b, y: a, x: c },
  ];
  const colour = (axis: number) => COLOURS[axes.indexOf(axis)] ?? '#888';
  const value = useSlice(path, version, at.join(','));
  return (
    <div className="ortho">
      {planes.map(({ normal, y, x }) => (
        <div key={normal} className="ortho-plane">
          <span className="chip ortho-label mono">
            <i className="swatch" style={{ background: colour(normal) }} />D{normal} = {at[normal]}
          </span>
          <Plane
            path={path}
            version={version}
            dims={plane(y, x)}
            row={at[y] ?? 0}
            column={at[x] ?? 0}
            colours={[colour(y), colour(x)]}
            onPick={(row, column) => onMove(at.map((index, axis) => (axis === y ? row : axis === x ? column : index)))}
            view={view}
            domains={domains}
            colorMap={colorMap}
            units={units}
          />
        </div>
      ))}
      <div className="ortho-facts">
        <h2 style={{ fontSize: 14, marginBottom: 8 }}>Position</h2>
        {axes.map((axis) => (
          <p key={axis} className="row mono">
            <i className="swatch" style={{ background: colour(axis), margin: 0 }} />D{axis} <b>{at[axis]}</b>
            <span className="muted">/ {(shape[axis] ?? 1) - 1}</span>
          </p>
        ))}
        <p className="row" style={{ marginTop: 8 }}>
          Value{' '}
          <b className="mono" style={{ fontSize: 18 }} data-testid="ortho-value">
            {value.data && !value.isPlaceholderData ? cellText(value.data, 0) : '…'}
          </b>{' '}
          <span className="muted">{units}</span>
        </p>
        <p className="muted" style={{ marginTop: 12, maxWidth: 260 }}>
          Click in a plane to move the cross. Drag pans, the wheel zooms.
        </p>
      </div>
    </div>
  );
}

interface PlaneProps {
  path: string;
  version: string;
  dims: Dims;
  row: number;
  column: number;
  colours: [string, string];
  onPick: (row: number, column: number) => void;
  view: View;
  domains: Domains;
  colorMap: ColorMap;
  units: string;
}

function Plane(props: PlaneProps) {
  const { data, error, refetch } = useSlice(props.path, props.version, sliceText(props.dims));
  if (error && !data) {
    return (
      <p className="notice bad" style={{ margin: 'auto' }} role="alert">
        {error.message}{' '}
        <button type="button" className="btn small" onClick={() => void refetch()}>
          Try again
        </button>
      </p>
    );
  }
  if (!data || data.shape.length !== 2) return <div className="skeleton grow" style={{ margin: 24 }} />;
  const { path, dims, row, column, colours, onPick, view, domains, colorMap, units } = props;
  const shape = isTransposed(dims) ? [...data.shape].reverse() : data.shape;
  const [rows = 1, columns = 1] = shape;
  return (
    <Heatmap
      read={data}
      dims={dims}
      view={view}
      domains={domains}
      colorMap={colorMap}
      path={path}
      units={units}
      name={`${path}[${sliceText(dims)}]`}
      colorBar={false}
    >
      <Pick rows={rows} columns={columns} onPick={onPick} />
      <Cross row={row + 0.5} column={column + 0.5} rows={rows} columns={columns} colours={colours} />
    </Heatmap>
  );
}

const CLICK_PX = 4;

function Pick({
  rows,
  columns,
  onPick,
}: {
  rows: number;
  columns: number;
  onPick: (row: number, column: number) => void;
}) {
  const { canvasArea } = useVisCanvasContext();
  useCanvasEvent('pointerdown', ({ sourceEvent }) => {
    canvasArea.dataset['down'] = `${sourceEvent.clientX},${sourceEvent.clientY}`;
  });
  useCanvasEvent('click', ({ dataPt, sourceEvent }) => {
    const [x = 0, y = 0] = (canvasArea.dataset['down'] ?? '').split(',').map(Number);
    if (Math.hypot(sourceEvent.clientX - x, sourceEvent.clientY - y) > CLICK_PX) return;
    const [row, column] = [Math.floor(dataPt.y), Math.floor(dataPt.x)];
    if (row >= 0 && column >= 0 && row < rows && column < columns) onPick(row, column);
  });
  return null;
}

interface CrossProps {
  row: number;
  column: number;
  rows: number;
  columns: number;
  colours: [string, string];
}

function Cross({ row, column, rows, columns, colours: [rowColour, columnColour] }: CrossProps) {
  const points: [Vector3, Vector3, Vector3, Vector3] = [
    new Vector3(0, row),
    new Vector3(columns, row),
    new Vector3(column, 0),
    new Vector3(column, rows),
  ];
  return (
    <DataToHtml points={points}>
      {(left, right, top, bottom) => (
        <SvgElement>
          <line x1={left.x} y1={left.y} x2={right.x} y2={right.y} stroke={rowColour} strokeWidth={1.5} />
          <line x1={top.x} y1={top.y} x2={bottom.x} y2={bottom.y} stroke={columnColour} strokeWidth={1.5} />
        </SvgElement>
      )}
    </DataToHtml>
  );
}
