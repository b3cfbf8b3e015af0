import {
  DefaultInteractions,
  HeatmapMesh,
  KeepZoom,
  ResetZoomButton,
  TooltipMesh,
  VisCanvas,
  type ColorMap,
} from '@h5web/lib';
import { useMemo, type ReactElement, type ReactNode } from 'react';
import type { Read } from '../api/queries';
import { useSettings } from '../state/settings';
import { isTransposed, sliceText, type Dims, type View } from '../state/view';
import * as format from '../ui/format';
import { ColorBar } from './ColorBar';
import { Figure } from './Figure';
import { PlotKeys } from './PlotKeys';
import { nanColour, picture, pixelText, texturesOf, type Domains } from './picture';

interface Props {
  read: Read;
  dims: Dims;
  view: View;
  domains: Domains;
  colorMap: ColorMap;
  path: string;
  units: string;
  /** Names of the plot for reading aloud and for keeping its zoom, where the plane is one of several. */
  name?: string;
  colorBar?: boolean;
  /** What is drawn on top, in coordinates of the data. */
  children?: ReactNode;
}

/** One plane as an interactive picture. */
export function Heatmap({
  read,
  dims,
  view,
  domains,
  colorMap,
  path,
  units,
  name = '',
  colorBar = true,
  children,
}: Props) {
  const transposed = isTransposed(dims);
  // The colour of NaN belongs to the theme.
  useSettings();
  const values = useMemo(() => picture(read, transposed, view.part), [read, transposed, view.part]);
  const mesh = useMemo(
    () => texturesOf(values, domains.shown, view.scale),
    [values, domains.shown[0], domains.shown[1], view.scale], // eslint-disable-line
  );
  const xName = `D${dims.indexOf('x')}`;
  const yName = `D${dims.indexOf('y')}`;
  const [rows, columns] = values.shape;
  const [low, high] = domains.shown;
  const axis = { isIndexAxis: true, showGrid: view.grid, formatTick: format.indexTick };
  return (
    <Figure
      label={name || `${path}[${sliceText(dims)}], ${format.number(low)} to ${format.number(high)} ${units}`.trim()}
    >
      <VisCanvas
        aspect={view.ratio}
        abscissaConfig={{ ...axis, visDomain: [0, columns], label: xName }}
        ordinateConfig={{ ...axis, visDomain: [0, rows], label: yName, flip: !view.up }}
      >
        <DefaultInteractions />
        <ResetZoomButton />
        <TooltipMesh
          guides="both"
          renderTooltip={(x, y) => {
            const [row, column] = [inside(y, rows), inside(x, columns)];
            return tooltip(yName, xName, row, column, pixelText(read, row, column, transposed), units);
          }}
        />
        <HeatmapMesh
          values={mesh.values}
          domain={mesh.domain}
          scaleType={mesh.scaleType}
          colorMap={colorMap}
          invertColorMap={view.inv}
          badColor={nanColour()}
          scale={[1, view.up ? 1 : -1, 1]}
        />
        <KeepZoom visKey={`${path}:${name || `${xName}${yName}`}`} />
        <PlotKeys />
        {children}
      </VisCanvas>
      {colorBar && <ColorBar domain={domains.shown} scale={view.scale} colorMap={colorMap} inverted={view.inv} />}
    </Figure>
  );
}

export function inside(value: number, length: number): number {
  return Math.min(Math.max(Math.floor(value), 0), length - 1);
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
