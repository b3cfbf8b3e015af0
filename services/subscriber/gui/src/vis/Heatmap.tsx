import { HeatmapVis, KeepZoom, type ColorMap } from '@h5web/lib';
import { useMemo, type ReactElement } from 'react';
import type { Read } from '../api/queries';
import { isTransposed, sliceText, type Dims, type View } from '../state/view';
import * as format from '../ui/format';
import { Figure } from './Figure';
import { PlotKeys } from './PlotKeys';
import { picture, pixelText, SCALE, type Domains } from './picture';

interface Props {
  read: Read;
  dims: Dims;
  view: View;
  domains: Domains;
  colorMap: ColorMap;
  path: string;
  units: string;
}

/** One plane as an interactive picture. */
export function Heatmap({ read, dims, view, domains, colorMap, path, units }: Props) {
  const transposed = isTransposed(dims);
  const data = useMemo(() => picture(read, transposed, view.part), [read, transposed, view.part]);
  const xName = `D${dims.indexOf('x')}`;
  const yName = `D${dims.indexOf('y')}`;
  const [low, high] = domains.shown;
  return (
    <Figure label={`${path}[${sliceText(dims)}], ${format.number(low)} to ${format.number(high)} ${units}`.trim()}>
      <HeatmapVis
        className="h5w"
        dataArray={data}
        domain={domains.shown}
        colorMap={colorMap}
        invertColorMap={view.inv}
        scaleType={SCALE[view.scale]}
        aspect={view.ratio}
        showGrid={view.grid}
        flipYAxis={!view.up}
        abscissaParams={{ label: xName }}
        ordinateParams={{ label: yName }}
        renderTooltip={({ xi, yi }) => tooltip(yName, xName, yi, xi, pixelText(read, yi, xi, transposed), units)}
      >
        <KeepZoom visKey={`${path}:${xName}${yName}`} />
        <PlotKeys />
      </HeatmapVis>
    </Figure>
  );
}

export function tooltip(
  yName: string,
  xName: string,
  row: number,
  column: number,
  text: string,
  units: string,
): ReactElement {
  return (
    <>
      {yName}={row}, {xName}={column}
      <div>
        <strong data-testid="pixel">{text}</strong> {units}
      </div>
    </>
  );
}
