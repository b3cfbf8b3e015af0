import {
  DefaultInteractions,
  KeepZoom,
  ResetZoomButton,
  ScaleType,
  TiledHeatmapMesh,
  TooltipMesh,
  VisCanvas,
  type ColorMap,
} from '@h5web/lib';
import { useEffect, useMemo, useState } from 'react';
import { reportCost } from '../state/notices';
import { sliceText, type Dims, type View } from '../state/view';
import * as format from '../ui/format';
import { ColorBar } from './ColorBar';
import { inside, tooltip } from './Heatmap';
import { PlotKeys } from './PlotKeys';
import { SCALE, singleSpans, stretched, type Domains } from './picture';
import { ServerTiles } from './tileStore';

interface Props {
  path: string;
  version: string;
  dims: Dims;
  rows: number;
  columns: number;
  view: View;
  domains: Domains;
  colorMap: ColorMap;
  units: string;
  /** Whether the values are wider than single precision. */
  isWide: boolean;
}

/** A picture too large to be read at once: only the tiles in view, at the resolution of the screen. */
export function Tiled({ path, version, dims, rows, columns, view, domains, colorMap, units, isWide }: Props) {
  const [failure, setFailure] = useState('');
  const [round, setRound] = useState(0);
  const text = sliceText(dims);
  const { scale } = view;
  const [low, high] = domains.shown;
  // What single precision cannot tell apart becomes colours in double precision, and that anew for other colours.
  const colours = isWide && !singleSpans(domains.shown) ? `${low} ${high} ${scale}` : '';
  const api = useMemo(
    () =>
      new ServerTiles(
        path,
        version,
        dims,
        rows,
        columns,
        reportCost,
        (error) => setFailure(error.message),
        colours ? (values) => stretched(values, [low, high], scale) : undefined,
      ),
    // A new array of dims with the same text is the same picture.
    [path, version, text, rows, columns, round, colours], // eslint-disable-line
  );
  useEffect(() => setFailure(''), [api]);
  const xName = `D${dims.indexOf('x')}`;
  const yName = `D${dims.indexOf('y')}`;
  const flip = view.up ? 1 : -1;
  const axis = { isIndexAxis: true, showGrid: view.grid, formatTick: format.indexTick };
  return (
    <div className="plot h5w tiled" role="figure" aria-label={`${path}[${text}]`}>
      {failure && (
        <p className="vis-note notice bad" role="alert">
          A part of the picture is missing: {failure}{' '}
          <button type="button" className="btn small" onClick={() => setRound(round + 1)}>
            Try again
          </button>
        </p>
      )}
      <VisCanvas
        aspect={view.ratio}
        abscissaConfig={{ ...axis, visDomain: [0, columns], label: xName }}
        ordinateConfig={{ ...axis, visDomain: [0, rows], label: yName, flip: !view.up }}
      >
        <DefaultInteractions />
        <ResetZoomButton />
        <group scale={[1, flip, 1]}>
          <TiledHeatmapMesh
            api={api}
            domain={colours ? [0, 1] : domains.shown}
            scaleType={colours ? ScaleType.Linear : SCALE[scale]}
            colorMap={colorMap}
            invertColorMap={view.inv}
            qualityFactor={0.5}
          />
        </group>
        <TooltipMesh
          guides="both"
          renderTooltip={(x, y) => {
            const [row, column] = [inside(y, rows), inside(x, columns)];
            const found = api.textAt(row, column);
            const mean = found && found.across > 1 ? `mean of ${found.across} × ${found.across}` : '';
            return tooltip(yName, xName, row, column, found?.text ?? '…', `${units} ${mean}`.trim());
          }}
        />
        <KeepZoom visKey={`${path}:${xName}${yName}:tiled`} />
        <PlotKeys />
      </VisCanvas>
      <ColorBar domain={domains.shown} scale={view.scale} colorMap={colorMap} inverted={view.inv} />
    </div>
  );
}
