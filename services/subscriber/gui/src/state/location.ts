/** The address bar as the only state of what is shown. */
import { useMemo, useSyncExternalStore } from 'react';

const listeners = new Set<() => void>();

function base(): string {
  return new URL(document.baseURI).pathname;
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

export interface Location {
  /** Decoded path below the base, without a leading slash. */
  path: string;
  search: URLSearchParams;
}

export function useLocation(): Location {
  const href = useSyncExternalStore(subscribe, () => window.location.pathname + window.location.search);
  return useMemo(() => {
    const [pathname = '', search = ''] = split(href);
    const below = pathname.startsWith(base()) ? pathname.slice(base().length) : pathname.slice(1);
    return { path: decodePath(below), search: new URLSearchParams(search) };
  }, [href]);
}

function split(href: string): [string, string] {
  const at = href.indexOf('?');
  return at < 0 ? [href, ''] : [href.slice(0, at), href.slice(at + 1)];
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Go to an address below the base, `d/lab/x.b2nd?tab=table`. */
export function navigate(to: string, { replace = false } = {}): void {
  const target = base() + to.replace(/^\//, '');
  if (target === window.location.pathname + window.location.search) return;
  window.history[replace ? 'replaceState' : 'pushState'](null, '', target);
  for (const listener of listeners) listener();
}

/** Address of a dataset, file, folder or root. */
export function placeOf(path: string, query = ''): string {
  return `d/${path.split('/').map(encodeURIComponent).join('/')}${query ? `?${query}` : ''}`;
}
