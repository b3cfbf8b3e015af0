/** What the screens ask the server for; answers are kept and shared by TanStack Query. */
import { keepPreviousData, QueryClient, useInfiniteQuery, useQuery, type UseQueryResult } from '@tanstack/react-query';
import { decode, type Slice } from './arrays';
import type { WireDtype } from './dtype';
import { ApiError, getJson, quote, request, url } from './http';
import type { CacheMap, Found, Info, Listing, Root, Session, Statistics, Versioned } from './types';

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 60_000,
        refetchOnWindowFocus: false,
        retry: (failures, error) => failures < 2 && error instanceof ApiError && [0, 503, 504].includes(error.status),
      },
    },
  });
}

interface Me {
  email: string | null;
  is_superuser: boolean;
  groups: string[];
  login: boolean;
  register: boolean;
  min_password: number;
  oidc: boolean;
  oidc_name: string | null;
  jupyterlite?: string | null;
  used_bytes?: number | null;
  quota_bytes?: number | null;
  site_used_bytes?: number | null;
  site_quota_bytes?: number | null;
}

const WRITABLE = ['@personal', '@shared', '@public'];

async function session(signal: AbortSignal): Promise<Session> {
  const me = await getJson<Me>('api/me', {}, signal);
  const rights = me.email === null ? [] : WRITABLE;
  const may = await Promise.all(
    rights.map((root) => getJson<{ write: boolean }>(`api/permissions/${quote(root)}`, {}, signal)),
  );
  return {
    email: me.email,
    superuser: me.is_superuser,
    groups: me.groups,
    login: me.login,
    register: me.register,
    minPassword: me.min_password,
    oidc: me.oidc ? (me.oidc_name ?? 'your institution') : null,
    jupyterlite: me.jupyterlite ?? null,
    writable: rights.filter((_, i) => may[i]?.write),
    space: spaceOf(me),
  };
}

/** What the person's files take: of the own quota, or of the site's where that is all there is. */
function spaceOf(me: Me): Session['space'] {
  const { used_bytes: used, quota_bytes: quota, site_used_bytes: siteUsed, site_quota_bytes: siteQuota } = me;
  if (used == null) return null;
  const left = [quota == null ? Infinity : quota - used, siteQuota == null ? Infinity : siteQuota - (siteUsed ?? 0)];
  const own = { used, quota: quota ?? null, whose: 'yours' as const };
  const shown = quota == null && siteQuota != null ? { used: siteUsed ?? 0, quota: siteQuota, whose: 'the site' } : own;
  return { ...shown, left: Math.max(Math.min(...left), 0) };
}

export function useSession(): UseQueryResult<Session> {
  return useQuery({ queryKey: ['session'], queryFn: ({ signal }) => session(signal) });
}

/** Number of datasets and files in a root. */
export function useRootCount(root: string, enabled: boolean): UseQueryResult<number> {
  return useQuery({ ...newestQuery(root), select: ({ total }) => total, enabled });
}

/** Unix time in seconds of the last change in a root; null if nothing is in it. */
export function useLastChange(root: string, enabled: boolean): UseQueryResult<number | null> {
  return useQuery({ ...newestQuery(root), select: ({ entries }) => entries[0]?.mtime ?? null, enabled });
}

function newestQuery(root: string) {
  return {
    queryKey: ['search', 'newest', root],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      getJson<Found>('api/search', { root, sort: '-mtime', limit: 1 }, signal),
  };
}

/** Who is subscribed to a root. */
export interface Subscription {
  root: string;
  followed: boolean;
  site: boolean;
  mine: boolean;
  /** Number of users; only administrators are told. */
  users: number | null;
}

export function useSubscriptions(): UseQueryResult<Subscription[]> {
  return useQuery({
    queryKey: ['subscriptions'],
    queryFn: ({ signal }) => getJson<Subscription[]>('api/subscriptions', {}, signal),
  });
}

export function useRoots(): UseQueryResult<Root[]> {
  return useQuery({
    queryKey: ['roots'],
    queryFn: async ({ signal }) => Object.values(await getJson<Record<string, Root>>('api/roots', {}, signal)),
  });
}

export const PAGE = 1000;

export function listing(path: string, after: string | null, signal?: AbortSignal): Promise<Listing> {
  return getJson<Listing>(`api/browse/${quote(path)}`, { after: after ?? undefined, limit: PAGE }, signal);
}

/** The first pages of a folder: `count` of them, or as many as there are. */
export async function listingPages(path: string, count: number, signal?: AbortSignal): Promise<Listing[]> {
  const pages = [await listing(path, null, signal)];
  for (let after = pages[0]?.next; after && pages.length < count; after = pages.at(-1)?.next) {
    pages.push(await listing(path, after, signal));
  }
  return pages;
}

export function useFound(words: string, kind: string, enabled: boolean) {
  return useInfiniteQuery({
    queryKey: ['search', words, kind],
    queryFn: ({ pageParam, signal }) =>
      getJson<Found>('api/search', { q: words, kind, after: pageParam || undefined, limit: PAGE }, signal),
    initialPageParam: '',
    getNextPageParam: (page: Found) => page.next ?? undefined,
    placeholderData: keepPreviousData,
    enabled,
  });
}

export function search(words: string, limit: number, signal?: AbortSignal): Promise<Found> {
  return getJson<Found>('api/search', { q: words, limit }, signal);
}

export function useRecent(): UseQueryResult<Found> {
  return useQuery({
    queryKey: ['search', 'recent'],
    queryFn: ({ signal }) => getJson<Found>('api/search', { sort: '-mtime', limit: 8 }, signal),
  });
}

export function useInfo(path: string): UseQueryResult<Versioned> {
  return useQuery({
    queryKey: ['info', path],
    queryFn: async ({ signal }) => {
      const info = await getJson<Info>(`api/info/${quote(path)}`, {}, signal);
      return { info, version: info.version ?? '', stale: info.freshness?.stale_s ?? null };
    },
  });
}

/** What a read cost: shown in the status bar. */
export interface Cost {
  path: string;
  slice: string;
  note: string;
  rawBytes: number;
  sentBytes: number;
  encoding: string;
  source: string;
  milliseconds: number;
}

export interface Read extends Slice {
  cost: Cost;
  /** Values that one min/max pair stands for; 1 for plain values. Lines only. */
  step: number;
  /** Number of rows that fit the filter. Rows only. */
  total: number;
}

interface Query {
  [key: string]: string | number | undefined;
}

/** Read raw values from one of the `/api/view` endpoints. */
export async function readView(
  what: 'slice' | 'tile' | 'line' | 'rows',
  path: string,
  query: Query,
  signal?: AbortSignal,
): Promise<Read> {
  const target = url(`api/view/${what}/${quote(path)}`, query);
  const started = performance.now();
  const response = await request(target, { signal });
  const buffer = await response.arrayBuffer();
  const dtype = JSON.parse(response.headers.get('X-Dtype') ?? '"|u1"') as WireDtype;
  const shape = JSON.parse(response.headers.get('X-Shape') ?? '[]') as number[];
  const rangeText = response.headers.get('X-Range');
  const range = rangeText ? (JSON.parse(rangeText) as [number, number]) : null;
  const slice = decode(buffer, dtype, shape, response.headers.get('X-Filter') === 'shuffle', range);
  const timing = performance.getEntriesByName(target).at(-1) as PerformanceResourceTiming | undefined;
  const step = Number(response.headers.get('X-Step') ?? 1);
  return {
    ...slice,
    step,
    total: Number(response.headers.get('X-Total') ?? 0),
    cost: {
      path,
      slice: String(query.s ?? ''),
      note: step > 1 ? `min/max of every ${step}` : '',
      rawBytes: buffer.byteLength,
      sentBytes: timing?.encodedBodySize || Number(response.headers.get('Content-Length') ?? 0) || buffer.byteLength,
      encoding: response.headers.get('Content-Encoding') ?? '',
      source: response.headers.get('X-Cat2-Source') ?? '',
      milliseconds: Math.round(performance.now() - started),
    },
  };
}

const MAX_KEPT_MS = 120_000;

export function sliceQuery(path: string, version: string, s: string) {
  return {
    queryKey: ['slice', path, version, s],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      readView('slice', path, { s, v: version || undefined, filter: 'shuffle' }, signal),
    staleTime: Infinity,
    gcTime: MAX_KEPT_MS,
  };
}

export function useSlice(path: string, version: string, s: string, enabled = true): UseQueryResult<Read> {
  return useQuery({ ...sliceQuery(path, version, s), enabled, placeholderData: keepPreviousData });
}

export function lineQuery(path: string, version: string, s: string) {
  return {
    queryKey: ['line', path, version, s],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      readView('line', path, { s, n: 2400, v: version || undefined, filter: 'shuffle' }, signal),
    staleTime: version ? Infinity : MAX_KEPT_MS,
    gcTime: MAX_KEPT_MS,
  };
}

export function useLine(path: string, version: string, s: string, enabled = true): UseQueryResult<Read> {
  return useQuery({ ...lineQuery(path, version, s), placeholderData: keepPreviousData, enabled });
}

export function statisticsQuery(path: string, version: string, s: string) {
  return {
    queryKey: ['stats', path, version, s],
    queryFn: ({ signal }: { signal: AbortSignal }) =>
      getJson<Statistics>(`api/view/stats/${quote(path)}`, { s, v: version || undefined }, signal),
    staleTime: Infinity,
    gcTime: MAX_KEPT_MS,
  };
}

export function useStatistics(path: string, version: string, s: string, enabled = true): UseQueryResult<Statistics> {
  return useQuery({ ...statisticsQuery(path, version, s), placeholderData: keepPreviousData, enabled });
}

export function useCacheMap(path: string, version: string): UseQueryResult<CacheMap> {
  return useQuery({
    queryKey: ['cache', path, version],
    queryFn: ({ signal }) => getJson<CacheMap>(`api/view/cache/${quote(path)}`, {}, signal),
    staleTime: 0,
  });
}
