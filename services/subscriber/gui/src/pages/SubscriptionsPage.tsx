import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { MoreHorizontal } from 'lucide-react';
import { useState } from 'react';
import { getJson, quote, send } from '../api/http';
import { useLastChange, useRootCount, useRoots, useSession, useSubscriptions, type Subscription } from '../api/queries';
import type { Root } from '../api/types';
import { useSubscribe } from '../state/actions';
import { placeOf } from '../state/location';
import { notify } from '../state/notices';
import { Dialog } from '../ui/Dialog';
import * as format from '../ui/format';
import { Link } from '../ui/Link';
import { Menu } from '../ui/Menu';
import { Problem } from '../ui/Problem';
import { RootState } from './HomePage';

interface RootUsage {
  disk_bytes?: number;
  bytes?: number;
  chunks?: number;
}

interface CacheStatus {
  size: number;
  used: number;
  state: string;
  pins: string[];
  roots: Record<string, RootUsage>;
}

type Column = 'name' | 'state';

/** Which roots this server follows, whether their publishers answer, and what is cached of them. */
export default function SubscriptionsPage() {
  const roots = useRoots();
  const subscriptions = useSubscriptions();
  const superuser = useSession().data?.superuser ?? false;
  const cache = useQuery({
    queryKey: ['cache-status'],
    queryFn: ({ signal }) => getJson<CacheStatus>('api/cache/status', {}, signal),
    enabled: superuser,
    refetchInterval: 10_000,
  });
  const [words, setWords] = useState('');
  const [sort, setSort] = useState<Column>('name');
  if (roots.error) return <Problem error={roots.error} onRetry={() => void roots.refetch()} />;
  const published = (roots.data ?? [])
    .filter((root) => !root.name.startsWith('@') && root.name.includes(words.toLowerCase()))
    .sort((a, b) => String(a[sort] ?? '').localeCompare(String(b[sort] ?? '')));
  const heading = (column: Column, title: string) => (
    <th scope="col" aria-sort={sort === column ? 'ascending' : undefined}>
      <button type="button" className="btn plain small" onClick={() => setSort(column)}>
        {title}
      </button>
    </th>
  );
  return (
    <div className="page">
      <h1>Subscriptions</h1>
      <p className="lead">
        A root that this server follows can be searched at once, whatever the state of its publisher. Its chunks come as
        people look at them.
      </p>
      {cache.data && (
        <p className="row num" style={{ marginTop: 16 }}>
          <progress className="meter" aria-label="Cache in use" value={cache.data.used} max={cache.data.size || 1} />
          {format.bytes(cache.data.used)} of {format.bytes(cache.data.size)} cache used
          {cache.data.state !== 'ok' && <span className="chip bad">cache {cache.data.state}</span>}
        </p>
      )}
      <div className="row" style={{ margin: '20px auto 10px' }}>
        <input
          className="input"
          style={{ width: 260 }}
          type="search"
          placeholder="Filter roots"
          aria-label="Filter roots"
          value={words}
          onChange={(event) => setWords(event.target.value)}
        />
      </div>
      <div className="card scroll-x">
        <table className="plain">
          <thead>
            <tr>
              {heading('name', 'Root')}
              {heading('state', 'Publisher')}
              <th scope="col">Address</th>
              <th scope="col">Datasets</th>
              <th scope="col">Last change</th>
              {superuser && <th scope="col">Cached</th>}
              <th scope="col">Subscribed</th>
              <th scope="col">
                <span className="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {published.map((root) => (
              <RootRow
                key={root.name}
                root={root}
                superuser={superuser}
                cache={cache.data}
                subscription={subscriptions.data?.find((each) => each.root === root.name)}
              />
            ))}
          </tbody>
        </table>
        {roots.data && published.length === 0 && <p className="tree-note">No publisher has announced such a root.</p>}
      </div>
    </div>
  );
}

type Who = 'me' | 'site' | 'everybody';

interface RowProps {
  root: Root;
  superuser: boolean;
  cache: CacheStatus | undefined;
  subscription: Subscription | undefined;
}

function RootRow({ root, superuser, cache, subscription }: RowProps) {
  const subscribe = useSubscribe();
  const signedIn = useSession().data?.email != null;
  const count = useRootCount(root.name, Boolean(root.subscribed)).data;
  const changed = useLastChange(root.name, Boolean(root.subscribed)).data;
  const [leaving, setLeaving] = useState<Who | null>(null);
  const pinned = cache?.pins.includes(root.name) ?? false;
  const client = useQueryClient();
  const pin = useMutation({
    mutationFn: () => send('POST', `api/cache/${pinned ? 'unpin' : 'pin'}/${quote(root.name)}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ['cache-status'] }),
    onError: (error) => notify(error.message, 'bad'),
  });
  const siteToo = useMutation({
    mutationFn: () => send('POST', `api/subscribe/${quote(root.name)}?who=site`),
    onSuccess: () => client.invalidateQueries(),
    onError: (error) => notify(error.message, 'bad'),
  });
  const mine = subscription?.mine ?? false;
  const site = subscription?.site ?? false;
  const followed = Boolean(root.subscribed);
  return (
    <tr>
      <th scope="row" style={{ color: 'inherit' }}>
        <Link href={placeOf(root.name)}>{root.name}</Link>
      </th>
      <td>
        <RootState root={root} />{' '}
        {root.state === 'offline' && root.offline_since && (
          <span className="muted">since {format.time(root.offline_since)}</span>
        )}
      </td>
      <td className="mono">{root.http}</td>
      <td className="num">{count === undefined ? '–' : format.count(count)}</td>
      <td className="num">{(changed && format.ago(changed)) || '–'}</td>
      {superuser && <td className="num">{cachedText(cache?.roots[root.name], root.nbytes ?? null)}</td>}
      <td>{whoText(subscription, followed) || '–'}</td>
      <td>
        <div className="row" style={{ justifyContent: 'flex-end', flexWrap: 'nowrap' }}>
          {(signedIn ? !mine : !followed) && (
            <button
              type="button"
              className={`btn small ${followed ? '' : 'primary'}`}
              disabled={subscribe.isPending}
              onClick={() => subscribe.mutate(root.name)}
            >
              Subscribe
            </button>
          )}
          {mine && (
            <button type="button" className="btn small" onClick={() => setLeaving('me')}>
              Unsubscribe
            </button>
          )}
          {superuser && (
            <Menu className="btn small icon" name={`More for ${root.name}`} label={<MoreHorizontal aria-hidden />}>
              {!site && (
                <button type="button" onClick={() => siteToo.mutate()}>
                  Subscribe the site
                </button>
              )}
              {site && (
                <button type="button" onClick={() => setLeaving('site')}>
                  Unsubscribe the site
                </button>
              )}
              {followed && (
                <button type="button" onClick={() => setLeaving('everybody')}>
                  Unsubscribe everybody
                </button>
              )}
              {followed && (
                <button type="button" onClick={() => pin.mutate()}>
                  {pinned ? 'Let cached chunks go when space is short' : 'Keep cached chunks'}
                </button>
              )}
            </Menu>
          )}
        </div>
        {leaving && <LeaveDialog name={root.name} who={leaving} onClose={() => setLeaving(null)} />}
      </td>
    </tr>
  );
}

/** Bytes on disk, and how much of the root that is. */
function cachedText(usage: RootUsage | undefined, nbytes: number | null): string {
  if (!usage) return '–';
  const text = format.bytes(usage.disk_bytes ?? usage.bytes ?? 0);
  if (!nbytes || usage.bytes === undefined) return text;
  return `${text} (${format.percent(usage.bytes / nbytes)})`;
}

function whoText(subscription: Subscription | undefined, followed: boolean): string {
  if (!subscription) return followed ? 'the site' : '';
  const { mine, site, users } = subscription;
  const others = (users ?? 0) - (mine ? 1 : 0);
  const parts = [mine && 'you', site && 'the site', others > 0 && `${others} ${others === 1 ? 'other' : 'others'}`];
  return parts.filter(Boolean).join(', ');
}

const LEAVING: Record<Who, string> = {
  me: 'The site goes on following this root while anybody else is subscribed to it.',
  site: 'The site goes on following this root while a user is subscribed to it.',
  everybody: 'Its catalogue and its cached chunks are forgotten here. Nothing changes at its publisher.',
};

function LeaveDialog({ name, who, onClose }: { name: string; who: Who; onClose: () => void }) {
  const client = useQueryClient();
  const leave = useMutation({
    mutationFn: () => send('POST', `api/unsubscribe/${quote(name)}?who=${who}`),
    onSuccess: async () => {
      notify(who === 'me' ? `You are not subscribed to ${name} any longer` : `Unsubscribed from ${name}`, 'good');
      onClose();
      await client.invalidateQueries();
    },
  });
  return (
    <Dialog title={`Unsubscribe from ${name}?`} onClose={onClose}>
      <div className="stack">
        <p className="muted">{LEAVING[who]}</p>
        {leave.error && (
          <p className="notice bad" role="alert">
            {leave.error.message}
          </p>
        )}
        <div className="row">
          <button type="button" className="btn danger" disabled={leave.isPending} onClick={() => leave.mutate()}>
            Unsubscribe
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
        </div>
      </div>
    </Dialog>
  );
}
