import { getLinearGradient, INTERPOLATORS, type ColorMap, type Domain } from '@h5web/lib';
import { scaleLinear, scaleLog, scaleSqrt, scaleSymlog, type ScaleContinuousNumeric } from 'd3-scale';
import type { ScaleName } from '../state/view';
import * as format from '../ui/format';

interface Props {
  domain: Domain;
  scale: ScaleName;
  colorMap: ColorMap;
  inverted: boolean;
}

const PERCENT = [0, 100];
const SCALES: Record<ScaleName, (domain: Domain) => ScaleContinuousNumeric<number, number>> = {
  linear: (domain) => scaleLinear(domain, PERCENT),
  log: (domain) => scaleLog(domain, PERCENT),
  symlog: (domain) => scaleSymlog(domain, PERCENT),
  sqrt: (domain) => scaleSqrt(domain, PERCENT),
};
const TICKS = 6;
/** Ticks nearer than this to an end would lie under its label, in percent. */
const CLEAR = 5;

/** Which colour stands for which value; the ends say exactly what the colours span. */
export function ColorBar({ domain, scale, colorMap, inverted }: Props) {
  const place = SCALES[scale](domain);
  const map = INTERPOLATORS[colorMap];
  const interpolate = inverted ? (t: number) => map(1 - t) : map;
  // Upright beside the picture, lying under it where the window is narrow.
  const gradients = {
    ['--upwards' as string]: getLinearGradient(interpolate, 'top'),
    ['--rightwards' as string]: getLinearGradient(interpolate, 'right'),
  };
  const ticks = thinned(place.ticks(TICKS)).filter((tick) => place(tick) > CLEAR && place(tick) < 100 - CLEAR);
  const text = format.ticks(ticks);
  const [low, high] = domain;
  return (
    <div className="color-bar" role="img" aria-label={`Colours from ${format.number(low)} to ${format.number(high)}`}>
      <span className="bound">{format.bound(high)}</span>
      <div className="color-scale">
        <div data-keep-colors style={gradients} />
        {ticks.map((tick) => (
          <span key={tick} style={{ bottom: `${place(tick)}%` }}>
            {text(tick)}
          </span>
        ))}
      </div>
      <span className="bound">{format.bound(low)}</span>
    </div>
  );
}

/** Logarithmic scales give ten ticks a decade: keep the powers of ten, and of those not more than have room. */
function thinned(ticks: number[]): number[] {
  if (ticks.length <= 2 * TICKS) return ticks;
  const powers = ticks.filter((tick) => Number.isInteger(Math.round(Math.log10(Math.abs(tick)) * 1e9) / 1e9));
  const every = Math.ceil(powers.length / (2 * TICKS));
  return powers.filter((_, i) => i % every === 0);
}
