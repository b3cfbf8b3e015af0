import {
  DefaultInteractions,
  KeepZoom,
  ResetZoomButton,
  Separator,
  SnapshotBtn,
  ToggleBtn,
  Toolbar,
  TooltipMesh,
  VisCanvas,
  VisMesh,
} from '@h5web/lib';
import { useEffect, useMemo } from 'react';
import { DataTexture } from 'three';
import { cellText, numbers, type Numbers } from '../api/arrays';
import type { Read } from '../api/queries';
import type { View } from '../state/view';
import * as format from '../ui/format';
import { Figure } from './Figure';
import { inside, tooltip } from './Heatmap';
import { FlipIcon, GridIcon, RatioIcon } from './icons';
import { PlotKeys } from './PlotKeys';
import { INTERACTIONS } from './Toolbar';

export function RgbToolbar({ view, setView }: { view: View; setView: (part: Partial<View>) => void }) {
  return (
    <div className="h5w">
      <Toolbar interactions={INTERACTIONS}>
        <ToggleBtn
          label="Keep ratio"
          Icon={RatioIcon}
          value={view.ratio === 'equal'}
          onToggle={() => setView({ ratio: view.ratio === 'equal' ? 'auto' : 'equal' })}
        />
        <ToggleBtn
          label="First row on top"
          Icon={FlipIcon}
          value={!view.up}
          onToggle={() => setView({ up: !view.up })}
        />
        <ToggleBtn label="Grid" Icon={GridIcon} value={view.grid} onToggle={() => setView({ grid: !view.grid })} />
        <Separator />
        <SnapshotBtn />
      </Toolbar>
    </div>
  );
}

interface Props {
  read: Read;
  view: View;
  path: string;
  /** Names of the axes of rows and columns. */
  names: [y: string, x: string];
}

/** A colour picture; an alpha channel is laid over white. */
export function Rgb({ read, view, path, names: [yName, xName] }: Props) {
  const [rows = 1, columns = 1, channels = 3] = read.shape;
  const shader = useMemo(() => {
    const data = new DataTexture(opaque(numbers(read), channels), columns, rows);
    data.needsUpdate = true;
    return { uniforms: { data: { value: data } }, vertexShader: VERTEX, fragmentShader: FRAGMENT };
  }, [read, rows, columns, channels]);
  useEffect(() => () => shader.uniforms.data.value.dispose(), [shader]);
  const axis = { isIndexAxis: true, showGrid: view.grid, formatTick: format.indexTick };
  return (
    <Figure label={path}>
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
            const first = (row * columns + column) * channels;
            const text = Array.from({ length: channels }, (_, i) => cellText(read, first + i)).join(', ');
            return tooltip(yName, xName, row, column, text, '');
          }}
        />
        <VisMesh scale={[1, view.up ? 1 : -1, 1]}>
          <shaderMaterial key={shader.uniforms.data.value.uuid} args={[shader]} />
        </VisMesh>
        <KeepZoom visKey={`${path}:rgb`} />
        <PlotKeys />
      </VisCanvas>
    </Figure>
  );
}

// The numbers are colours of the screen as they are: nothing between them and the pixels.
const VERTEX = `
  varying vec2 place;
  void main() {
    place = uv;
    gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  }
`;
const FRAGMENT = `
  uniform sampler2D data;
  varying vec2 place;
  void main() {
    gl_FragColor = texture2D(data, place);
  }
`;

/** Red, green, blue and full opacity, one byte each, over white; floats are in 0…1. */
export function opaque(values: Numbers, channels: number): Uint8ClampedArray {
  const white = values instanceof Uint8Array ? 255 : 1;
  const count = values.length / channels;
  const out = new Uint8ClampedArray(count * 4);
  for (let i = 0; i < count; i++) {
    const alpha = channels === 4 ? (values[4 * i + 3] as number) / white : 1;
    for (let k = 0; k < 3; k++) {
      out[4 * i + k] = (((values[channels * i + k] as number) * alpha) / white + 1 - alpha) * 255;
    }
    out[4 * i + 3] = 255;
  }
  return out;
}
