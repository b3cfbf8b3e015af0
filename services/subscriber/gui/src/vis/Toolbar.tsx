/** The controls above a picture; what does not fit moves into a menu. */
import {
  ColorMapSelector,
  DomainWidget,
  ScaleSelector,
  ScaleType,
  Separator,
  SnapshotBtn,
  ToggleBtn,
  Toolbar as H5wToolbar,
  type ColorMap,
  type CustomDomain,
} from '@h5web/lib';
import { ClipIcon, FlipIcon, GridIcon, PhaseIcon, RatioIcon } from './icons';
import { useEffect } from 'react';
import type { Statistics } from '../api/types';
import { isTyping } from '../shell/shortcuts';
import { settings } from '../state/settings';
import type { ScaleName, View } from '../state/view';
import type { Domains } from './picture';
import { placeable, SCALE } from './picture';

export const INTERACTIONS = [
  { shortcut: 'Drag', description: 'Pan' },
  { shortcut: 'Wheel', description: 'Zoom' },
  { shortcut: 'Ctrl+Drag', description: 'Zoom into a rectangle' },
  { shortcut: 'Alt+Wheel', description: 'Zoom along x' },
  { shortcut: 'Shift+Wheel', description: 'Zoom along y' },
  { shortcut: 'Double click, 0', description: 'Reset the zoom' },
];

const NAMES = Object.keys(SCALE) as ScaleName[];

/** `l` steps through the scales. */
export function useScaleKey(view: View, setView: (part: Partial<View>) => void, names = NAMES): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== 'l' || event.ctrlKey || event.metaKey || isTyping(event.target) || !settings().shortcuts)
        return;
      setView({ scale: names[(names.indexOf(view.scale) + 1) % names.length] });
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  });
}

interface Props {
  view: View;
  setView: (part: Partial<View>, replace?: boolean) => void;
  domains: Domains;
  colorMap: ColorMap;
  stats: Statistics | undefined;
  complex: boolean;
}

export function PictureToolbar({ view, setView, domains, colorMap, stats, complex }: Props) {
  useScaleKey(view, setView);
  const histogram = stats?.histogram ? placeable(stats.histogram, view.scale) : null;
  const setDomain = (dom: CustomDomain) => setView({ dom: dom[0] === null && dom[1] === null ? null : dom });
  return (
    <div className="h5w">
      <H5wToolbar interactions={INTERACTIONS}>
        <DomainWidget
          dataDomain={domains.data}
          customDomain={view.dom ?? [null, null]}
          scaleType={SCALE[view.scale]}
          histogram={
            histogram
              ? {
                  values: histogram.counts,
                  bins: histogram.edges,
                  colorMap,
                  invertColorMap: view.inv,
                  showLeftAxis: false,
                }
              : undefined
          }
          onCustomDomainChange={setDomain}
        />
        <ToggleBtn
          label="Clip 99 %"
          Icon={ClipIcon}
          value={view.clip}
          onToggle={() => setView({ clip: !view.clip, dom: null })}
        />
        <Separator />
        <ColorMapSelector
          value={colorMap}
          onValueChange={(cmap) => setView({ cmap })}
          invert={view.inv}
          onInversionChange={() => setView({ inv: !view.inv })}
        />
        <Separator />
        <ScaleSelector
          value={SCALE[view.scale]}
          onScaleChange={(scale) => setView({ scale: NAMES.find((name) => SCALE[name] === scale) })}
          options={[ScaleType.Linear, ScaleType.Log, ScaleType.SymLog, ScaleType.Sqrt]}
        />
        {complex ? (
          <ToggleBtn
            label="Phase"
            Icon={PhaseIcon}
            value={view.part === 'phase'}
            onToggle={() => setView({ part: view.part === 'phase' ? 'amplitude' : 'phase', dom: null })}
          />
        ) : (
          <></>
        )}
        <Separator />
        <ToggleBtn
          label="Keep ratio"
          iconOnly
          Icon={RatioIcon}
          value={view.ratio === 'equal'}
          onToggle={() => setView({ ratio: view.ratio === 'equal' ? 'auto' : 'equal' })}
        />
        <ToggleBtn
          label="First row on top"
          iconOnly
          Icon={FlipIcon}
          value={!view.up}
          onToggle={() => setView({ up: !view.up })}
        />
        <ToggleBtn
          label="Grid"
          iconOnly
          Icon={GridIcon}
          value={view.grid}
          onToggle={() => setView({ grid: !view.grid })}
        />
        <SnapshotBtn />
      </H5wToolbar>
    </div>
  );
}
