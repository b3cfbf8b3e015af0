import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useCallback, useEffect, useRef, type KeyboardEvent } from 'react';
import { ApiError } from '../api/http';
import { sliceQuery, statisticsQuery, useInfo } from '../api/queries';
import type { Versioned } from '../api/types';
import { FolderPage } from '../pages/FolderPage';
import { isTyping } from '../shell/shortcuts';
import { navigate, placeOf, useLocation } from '../state/location';
import { notify } from '../state/notices';
import { remember, settings } from '../state/settings';
import { formatView, parseView, type Tab, type View } from '../state/view';
import * as format from '../ui/format';
import { ErrorBoundary } from '../ui/ErrorBoundary';
import { Problem } from '../ui/Problem';
import { ChunksTab } from './ChunksTab';
import { FileDisplay } from './FileDisplay';
import { Header } from './Header';
import { MetadataTab } from './MetadataTab';
import { chosenVis, currentSlice, isTiled } from './selection';

const loadDisplay = () => import('./DisplayTab');
const DisplayTab = lazy(loadDisplay);
const TableTab = lazy(() => import('./TableTab'));

const TITLES: Record<Tab, string> = { display: 'Display', table: 'Table', metadata: 'Metadata', chunks: 'Chunks' };
const PRELOAD_MS = 1500;

export interface Opened extends Versioned {
  path: string;
  view: View;
  /** Change how the dataset is shown; `replace` leaves no entry to go back to. */
  setView: (part: Partial<View>, replace?: boolean) => void;
}

/** One dataset or file: its facts and its tabs. What is shown is in the address. */
export function DatasetPage({ path }: { path: string }) {
  const info = useInfo(path);
  const { search } = useLocation();
  const client = useQueryClient();
  const query = search.toString();
  const view = parseView(search);
  const current = useRef(view);
  current.current = view;

  const setView = useCallback(
    (part: Partial<View>, replace = true) => {
      navigate(placeOf(path, formatView({ ...current.current, ...part })), { replace });
    },
    [path],
  );

  useEffect(() => {
    if (info.data) remember(path);
  }, [path, info.data !== undefined]); // eslint-disable-line
  useVersionConflicts(path);
  useHeadStart(path, view, info.data);

  if (info.error instanceof ApiError && info.error.status === 404 && !info.data) {
    return <FolderOrNothing path={path} error={info.error} />;
  }
  if (info.error && !info.data) return <Problem error={info.error} onRetry={() => void info.refetch()} />;
  if (!info.data) return <div className="skeleton grow" style={{ margin: 24 }} aria-label="Loading" />;
  const opened: Opened = { ...info.data, path, view, setView };
  const tabs = tabsOf(opened);
  const tab = view.tab && tabs.includes(view.tab) ? view.tab : (tabs[0] ?? 'metadata');
  return (
    <>
      <Header opened={opened} onRetry={() => void client.invalidateQueries({ queryKey: ['info', path] })} />
      <Tabs tabs={tabs} tab={tab} onChoose={(next) => setView({ tab: next }, false)} />
      <div className="tab-panel" role="tabpanel" id="panel" aria-labelledby={`tab-${tab}`}>
        <ErrorBoundary resetKey={`${path}?${query}`}>
          <Suspense fallback={<div className="skeleton grow" style={{ margin: 24 }} aria-label="Loading" />}>
            <Panel tab={tab} opened={opened} />
          </Suspense>
        </ErrorBoundary>
      </div>
    </>
  );
}

function Panel({ tab, opened }: { tab: Tab; opened: Opened }) {
  usePreload();
  if (tab === 'metadata') return <MetadataTab opened={opened} />;
  if (tab === 'chunks') return <ChunksTab opened={opened} />;
  if (tab === 'table') return <TableTab opened={opened} />;
  return opened.info.shape ? <DisplayTab opened={opened} /> : <FileDisplay opened={opened} />;
}

function tabsOf({ info }: Versioned): Tab[] {
  if (info.error) return ['metadata'];
  if (!info.shape) return info.size === undefined ? ['display', 'metadata', 'chunks'] : ['display', 'metadata'];
  return ['display', 'table', 'metadata', 'chunks'];
}

interface TabsProps {
  tabs: Tab[];
  tab: Tab;
  onChoose: (tab: Tab) => void;
}

function Tabs({ tabs, tab, onChoose }: TabsProps) {
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey || !settings().shortcuts) return;
      const chosen = tabs[Number(event.key) - 1];
      if (chosen) onChoose(chosen);
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  });
  const onArrow = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length] as Tab;
    onChoose(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div className="ds-head" style={{ paddingTop: 0 }}>
      <div className="tabs" role="tablist" aria-label="Views" onKeyDown={onArrow}>
        {tabs.map((name) => (
          <button
            key={name}
            id={`tab-${name}`}
            type="button"
            role="tab"
            aria-selected={name === tab}
            aria-controls="panel"
            tabIndex={name === tab ? 0 : -1}
            onClick={() => onChoose(name)}
          >
            {TITLES[name]}
          </button>
        ))}
      </div>
    </div>
  );
}

/** Load the code of the plots while the person reads something else. */
function usePreload(): void {
  useEffect(() => {
    const timer = window.setTimeout(() => void loadDisplay(), PRELOAD_MS);
    return () => window.clearTimeout(timer);
  }, []);
}

/** Ask for the code of the plots, and then for what they draw, before one waits for the other. */
function useHeadStart(path: string, view: View, found: Versioned | undefined): void {
  const client = useQueryClient();
  const wanted = view.tab === null || view.tab === 'display';
  useEffect(() => {
    if (wanted && path.endsWith('.b2nd')) void loadDisplay();
  }, [path]); // eslint-disable-line
  useEffect(() => {
    if (!wanted || !found?.info.shape?.every(Boolean)) return;
    const shown = { info: found.info, view };
    if (chosenVis(shown) !== 'heatmap') return;
    const text = currentSlice(shown);
    if (!isTiled(shown)) void client.prefetchQuery(sliceQuery(path, found.version, text));
    void client.prefetchQuery(statisticsQuery(path, found.version, text));
  }, [path, found !== undefined]); // eslint-disable-line
}

/** A read of a version that is gone by now says 412: look at what is there now. */
function useVersionConflicts(path: string): void {
  const client = useQueryClient();
  useEffect(
    () =>
      client.getQueryCache().subscribe((event) => {
        const error = event.type === 'updated' && event.action.type === 'error' ? event.action.error : null;
        const [, of] = event.query.queryKey;
        if (!(error instanceof ApiError) || error.status !== 412 || of !== path) return;
        notify(`${format.baseName(path)} changed while it was read; you see the new version`);
        void client.invalidateQueries({ queryKey: ['info', path] });
      }),
    [client, path],
  );
}

/** A folder may have a dot in its name. */
function FolderOrNothing({ path, error }: { path: string; error: ApiError }) {
  return (
    <ErrorBoundary resetKey={path}>
      <FolderPage path={path} otherwise={error} />
    </ErrorBoundary>
  );
}
