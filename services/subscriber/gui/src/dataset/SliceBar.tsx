import { Pause, Play, SkipBack, SkipForward } from 'lucide-react';
import { useEffect, useRef, useState } from 'react';
import { isTyping } from '../shell/shortcuts';
import { settings } from '../state/settings';
import type { Dims } from '../state/view';

interface Props {
  shape: number[];
  dims: Dims;
  /** Whether the axes that are drawn can be chosen. */
  pickers: boolean;
  /** Whether the slice that was asked for is on screen; playback waits for it. */
  ready: boolean;
  onChange: (dims: Dims, replace?: boolean) => void;
}

const PLAY_MS = 90;

/** Which slice of an n-dimensional array is shown: axes, indices, playback. */
export function SliceBar({ shape, dims, pickers, ready, onChange }: Props) {
  // An axis of length 1 leaves nothing to choose.
  const sliders = dims
    .map((item, axis) => [item, axis] as const)
    .filter(([item, axis]) => typeof item === 'number' && (shape[axis] ?? 1) > 1);
  const [playing, setPlaying] = useState<number | null>(null);
  const [main = -1] = sliders.map(([, axis]) => axis);
  const step = (axis: number, by: number, wrap = false) => {
    const length = shape[axis] ?? 1;
    const next = (dims[axis] as number) + by;
    const index = wrap ? (next + length) % length : Math.min(Math.max(next, 0), length - 1);
    onChange(dims.map((item, i) => (i === axis ? index : item)));
  };
  const current = useRef({ step, main, playing });
  current.current = { step, main, playing };

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey || !settings().shortcuts) return;
      const { step: move, main: axis, playing: on } = current.current;
      if (axis < 0) return;
      const by: Record<string, number> = { '[': -1, ']': 1, '{': -10, '}': 10 };
      const delta = by[event.key];
      const isButton = (event.target as HTMLElement | null)?.closest?.('button, [role=tree], a');
      if (delta) move(axis, delta);
      else if (event.key === ' ' && !isButton) setPlaying(on === null ? axis : null);
      else return;
      event.preventDefault();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);

  useEffect(() => {
    if (playing === null || !ready) return undefined;
    const timer = window.setTimeout(() => current.current.step(playing, 1, true), PLAY_MS);
    return () => window.clearTimeout(timer);
  }, [playing, ready, dims]);

  if (sliders.length === 0 && !(pickers && shape.length > 1)) return null;
  return (
    <div className="slice-bar" role="group" aria-label="Slice">
      {pickers && <AxisPickers shape={shape} dims={dims} onChange={onChange} />}
      {sliders.map(([item, axis]) => (
        <div key={axis} className="slice-dim">
          <b>D{axis}</b>
          <button
            type="button"
            className="btn plain icon"
            aria-label={`Previous slice on D${axis}`}
            onClick={() => step(axis, -1)}
          >
            <SkipBack aria-hidden />
          </button>
          <button
            type="button"
            className="btn plain icon"
            aria-label={playing === axis ? `Stop D${axis}` : `Play D${axis}`}
            onClick={() => setPlaying(playing === axis ? null : axis)}
          >
            {playing === axis ? <Pause aria-hidden /> : <Play aria-hidden />}
          </button>
          <button
            type="button"
            className="btn plain icon"
            aria-label={`Next slice on D${axis}`}
            onClick={() => step(axis, 1)}
          >
            <SkipForward aria-hidden />
          </button>
          <input
            type="range"
            aria-label={`Index on D${axis}`}
            min={0}
            max={(shape[axis] ?? 1) - 1}
            value={item as number}
            onChange={(event) => step(axis, event.target.valueAsNumber - (item as number))}
          />
          <IndexInput
            axis={axis}
            value={item as number}
            length={shape[axis] ?? 1}
            onIndex={(index) => step(axis, index - (item as number))}
          />
          <span className="muted num">/ {(shape[axis] ?? 1) - 1}</span>
        </div>
      ))}
    </div>
  );
}

interface IndexProps {
  axis: number;
  value: number;
  length: number;
  onIndex: (index: number) => void;
}

function IndexInput({ axis, value, length, onIndex }: IndexProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const accept = () => {
    const index = Number.parseInt(typed ?? '', 10);
    if (Number.isFinite(index)) onIndex(Math.min(Math.max(index, 0), length - 1));
    setTyped(null);
  };
  return (
    <input
      className="input quiet"
      type="number"
      aria-label={`Type an index on D${axis}`}
      min={0}
      max={length - 1}
      value={typed ?? value}
      onChange={(event) => setTyped(event.target.value)}
      onBlur={accept}
      onKeyDown={(event) => event.key === 'Enter' && accept()}
    />
  );
}

function AxisPickers({ shape, dims, onChange }: Pick<Props, 'shape' | 'dims' | 'onChange'>) {
  const drawn = (['y', 'x'] as const).filter((axis) => dims.includes(axis));
  /** Draw `name` along `axis`; what was drawn there moves to where `name` was, or becomes an index. */
  const pick = (name: 'x' | 'y', axis: number) => {
    const before = dims.indexOf(name);
    const displaced = dims[axis];
    const next = dims.map((item, i) => {
      if (i === axis) return name;
      if (i !== before) return item;
      return typeof displaced === 'string' ? displaced : Math.floor((shape[before] ?? 1) / 2);
    });
    onChange(next, false);
  };
  return (
    <>
      {drawn.map((name) => (
        <label key={name} className="slice-axis">
          <i>
            <b>{name}</b>
          </i>
          <select
            className="input quiet"
            aria-label={`Axis drawn along ${name}`}
            value={dims.indexOf(name)}
            onChange={(event) => pick(name, Number(event.target.value))}
          >
            {shape.map((length, axis) => (
              <option key={axis} value={axis}>
                D{axis} ({length})
              </option>
            ))}
          </select>
        </label>
      ))}
    </>
  );
}
