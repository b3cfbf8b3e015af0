import { KeepZoom, RgbVis, Separator, SnapshotBtn, ToggleBtn, Toolbar } from '@h5web/lib';
import { FlipIcon, GridIcon, RatioIcon } from './icons';
import ndarray from 'ndarray';
import { useMemo } from 'react';
import { numbers, texture } from '../api/arrays';
import type { Read } from '../api/queries';
import type { View } from '../state/view';
import { Figure } from './Figure';
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

/** A colour picture; an alpha channel is laid over white. */
export function Rgb({ read, view, path }: { read: Read; view: View; path: string }) {
  const data = useMemo(() => {
    const [rows = 1, columns = 1, channels = 3] = read.shape;
    return ndarray(opaque(texture(numbers(read)), channels), [rows, columns, 3]);
  }, [read]);
  const axes = read.shape.length;
  return (
    <Figure label={path}>
      <RgbVis
        className="h5w"
        dataArray={data}
        aspect={view.ratio}
        showGrid={view.grid}
        flipYAxis={!view.up}
        abscissaParams={{ label: `D${axes - 2}` }}
        ordinateParams={{ label: `D${axes - 3}` }}
      >
        <KeepZoom visKey={`${path}:rgb`} />
        <PlotKeys />
      </RgbVis>
    </Figure>
  );
}

/** Red, green and blue over white; floats are kept in 0…1. */
export function opaque(values: Float32Array | Uint8Array, channels: number): Float32Array | Uint8Array {
  const white = values instanceof Uint8Array ? 255 : 1;
  if (channels === 3) return values;
  const count = values.length / 4;
  const out = values instanceof Uint8Array ? new Uint8Array(count * 3) : new Float32Array(count * 3);
  for (let i = 0; i < count; i++) {
    const alpha = (values[4 * i + 3] as number) / white;
    for (let k = 0; k < 3; k++) out[3 * i + k] = (values[4 * i + k] as number) * alpha + white * (1 - alpha);
  }
  return out;
}
