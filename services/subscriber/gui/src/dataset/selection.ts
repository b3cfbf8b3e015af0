import { infoKind } from '../api/dtype';
import type { Info } from '../api/types';
import { resolveDims, sliceText, type Dims, type View, type Vis } from '../state/view';

interface Shown {
  info: Info;
  view: View;
}

/** Ways in which an array can be drawn, the most telling first. */
export function visesOf(info: Info): Vis[] {
  const shape = info.shape ?? [];
  const kind = infoKind(info.dtype ?? '');
  const plottable = kind === 'real' || kind === 'complex' || kind === 'bool';
  if (shape.length === 0 || shape.every((length) => length === 1)) return ['scalar'];
  if (!plottable || /^\('/.test(info.dtype ?? '')) return ['table'];
  const long = shape.filter((length) => length > 1).length;
  if (shape.length === 1) return ['line'];
  const vises: Vis[] = long > 1 ? ['heatmap', 'line'] : ['line', 'heatmap'];
  // Bytes in threes or fours are a picture; numbers may be, but are more often coordinates or components.
  if (isColour(info)) vises.splice(info.dtype === 'uint8' ? 0 : vises.length, 0, 'rgb');
  if (shape.length >= 3 && kind !== 'complex') vises.push('ortho');
  return vises;
}

/** Whether the last axis can be the channels of a colour picture. */
function isColour({ shape = [], dtype = '' }: Info): boolean {
  const channels = shape.at(-1);
  return shape.length >= 3 && (channels === 3 || channels === 4) && /^(uint8|float32|float64)$/.test(dtype);
}

export function chosenVis({ info, view }: Shown): Vis {
  const vises = visesOf(info);
  return view.vis && vises.includes(view.vis) ? view.vis : (vises[0] ?? 'table');
}

/** The dims that the chosen picture is drawn with. */
export function shownDims(shown: Shown): Dims {
  const shape = shown.info.shape ?? [];
  const vis = chosenVis(shown);
  if (vis === 'rgb') {
    const leading = resolveDims(shown.view.dims?.slice(0, -1) ?? null, shape.slice(0, -1), 2);
    return leading;
  }
  return resolveDims(shown.view.dims, shape, vis === 'line' || shape.length === 1 ? 1 : 2);
}

const TILED_ABOVE = 4 * 2 ** 20;

/** Whether a picture has so many pixels that it is drawn from tiles. */
export function isTiled(shown: Shown): boolean {
  const { shape = [], dtype = '' } = shown.info;
  const dims = shownDims(shown);
  const pixels = (shape[dims.indexOf('x')] ?? 1) * (shape[dims.indexOf('y')] ?? 1);
  return pixels > TILED_ABOVE && infoKind(dtype) !== 'complex';
}

/** The slice that is on screen, as text. */
export function currentSlice(shown: Shown): string {
  const shape = shown.info.shape;
  if (!shape || shape.length === 0) return '';
  if (chosenVis(shown) === 'table' || chosenVis(shown) === 'scalar') return '';
  return sliceText(shownDims(shown));
}
