/** Changes as they happen: one event stream a tab, closed while the tab is hidden, resumed where it left off. */
import { useQueryClient, type QueryClient } from '@tanstack/react-query';
import { createContext, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { url } from '../api/http';
import { baseName, parentOf } from '../ui/format';
import { notify } from './notices';

type State = 'connecting' | 'on' | 'off' | 'paused';

interface Live {
  state: State;
  pause: (on: boolean) => void;
}

const Context = createContext<Live>({ state: 'off', pause: () => undefined });

export const useLive = () => useContext(Context);

export interface Change {
  type: 'changed' | 'added' | 'removed' | 'root-online' | 'root-offline' | 'resync';
  root: string;
  path: string;
}

const TYPES: Change['type'][] = ['changed', 'added', 'removed', 'root-online', 'root-offline', 'resync'];
const SETTLE_MS = 250;
/** Between two refreshes, while a publisher writes all the time. */
const REST_MS = 2000;

export function LiveProvider({ open, children }: { open: string; children: ReactNode }) {
  const client = useQueryClient();
  const [state, setState] = useState<State>('connecting');
  const [paused, setPaused] = useState(false);
  const shown = useRef(open);
  shown.current = open;

  useEffect(() => {
    if (paused) return undefined;
    const pending: Change[] = [];
    let timer = 0;
    let source: EventSource | null = null;
    let lastId = '';
    let refreshed = -REST_MS;

    const flush = () => {
      timer = 0;
      refreshed = performance.now();
      apply(client, pending.splice(0), shown.current);
    };
    const connect = () => {
      if (source || document.hidden) return;
      setState('connecting');
      source = new EventSource(url('api/events', { last: lastId || undefined }));
      source.onopen = () => setState('on');
      source.onerror = () => setState('off');
      for (const type of TYPES) {
        source.addEventListener(type, (event) => {
          lastId = event.lastEventId || lastId;
          pending.push({ ...(JSON.parse(event.data as string) as Omit<Change, 'type'>), type });
          timer ||= window.setTimeout(flush, Math.max(SETTLE_MS, refreshed + REST_MS - performance.now()));
        });
      }
    };
    const close = () => {
      source?.close();
      source = null;
    };
    const visible = () => (document.hidden ? close() : connect());
    connect();
    document.addEventListener('visibilitychange', visible);
    return () => {
      document.removeEventListener('visibilitychange', visible);
      window.clearTimeout(timer);
      close();
    };
  }, [client, paused]);

  const value = useMemo<Live>(
    () => ({
      state: paused ? 'paused' : state,
      pause: (on) => {
        setPaused(on);
        if (!on) void client.invalidateQueries();
      },
    }),
    [client, paused, state],
  );
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

/** Refetch what the changes concern, once however many they are, and tell the person about the open dataset. */
export function apply(client: QueryClient, changes: Change[], open: string): void {
  const folders = new Set<string>();
  for (const { type, root, path } of changes) {
    if (type === 'resync') {
      void client.invalidateQueries();
      return;
    }
    // What the person's files take is said in the menu, and what others may not exceed before an upload.
    if (root.startsWith('@')) void client.invalidateQueries({ queryKey: ['session'] });
    const whole = path ? `${root}/${path}` : root;
    if (path) {
      void client.invalidateQueries({ queryKey: ['info', whole] });
      // Lines to compare with are read as they are now, whatever their version.
      void client.invalidateQueries({ queryKey: ['line', whole, ''] });
      for (let folder = parentOf(whole); folder; folder = parentOf(folder)) folders.add(folder);
    } else if (type === 'changed') {
      void client.invalidateQueries({ queryKey: ['browse', root] });
    }
    if (whole === open) {
      notify(
        type === 'removed'
          ? `${baseName(path)} was removed at its source`
          : `${baseName(path)} changed; you see the new version`,
      );
    }
    if (type === 'root-offline') notify(`The publisher of ${root} went offline; cached data stay readable`, 'bad');
    if (type === 'root-online') notify(`The publisher of ${root} is online`, 'good');
  }
  for (const folder of folders) void client.invalidateQueries({ queryKey: ['browse', folder] });
  void client.invalidateQueries({ queryKey: ['search'] });
  void client.invalidateQueries({ queryKey: ['roots'] });
}
