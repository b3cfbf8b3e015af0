import { useCost } from '../state/notices';
import * as format from '../ui/format';

const SOURCES: Record<string, string> = { cache: 'from the cache', link: 'from the publisher', mixed: 'partly cached' };

/** What was read for the open view, and what it cost. */
export function StatusBar({ open }: { open: string }) {
  const cost = useCost();
  const shown = cost && cost.path === open ? cost : null;
  return (
    <footer className="status">
      <span className="mono" data-testid="read">
        {shown ? `${shown.path}[${shown.slice}]` : open}
        {shown?.note && ` · ${shown.note}`}
      </span>
      <span className="status-right num">
        {shown && (
          <>
            <span>
              {format.bytes(shown.sentBytes)} of {format.bytes(shown.rawBytes)}
              {shown.encoding && ` (${shown.encoding}, ${(shown.rawBytes / Math.max(shown.sentBytes, 1)).toFixed(1)}×)`}
            </span>
            {SOURCES[shown.source] && <span className="hide-small">{SOURCES[shown.source]}</span>}
            <span>{shown.milliseconds} ms</span>
          </>
        )}
        <span className="status-keys">
          <kbd>/</kbd> filter <kbd>?</kbd> shortcuts
        </span>
      </span>
    </footer>
  );
}
