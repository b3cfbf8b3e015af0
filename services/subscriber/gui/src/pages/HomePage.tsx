import { useQueryClient } from '@tanstack/react-query';
import { ArrowRight, CloudOff, Database, HardDrive, Lock, Upload, Wifi } from 'lucide-react';
import { useRecent, useRootCount, useRoots, useSession } from '../api/queries';
import type { Entry, Root } from '../api/types';
import { ordered } from '../shell/treeRows';
import { useSubscribe } from '../state/actions';
import { placeOf } from '../state/location';
import { useSettings } from '../state/settings';
import { pickFiles } from '../state/uploads';
import * as format from '../ui/format';
import { iconOf } from '../ui/KindIcon';
import { Link } from '../ui/Link';
import { Problem } from '../ui/Problem';

export function HomePage({ onPalette }: { onPalette: () => void }) {
  const roots = useRoots();
  const recent = useRecent();
  const session = useSession().data;
  const client = useQueryClient();
  const { recent: opened } = useSettings();
  if (roots.error) return <Problem error={roots.error} onRetry={() => void roots.refetch()} />;
  const published = (roots.data ?? []).filter((root) => !root.name.startsWith('@'));
  return (
    <div className="page">
      <div>
        <h1>Browse data where it lives</h1>
        <p className="lead lead-text">
          Open a dataset to see any slice of it at once. Only the chunks you look at are transferred and kept in the
          local cache.
        </p>
        <div className="row actions">
          <button type="button" className="btn primary" onClick={onPalette}>
            Find a dataset <kbd>Ctrl K</kbd>
          </button>
          {session?.writable.length ? (
            <button type="button" className="btn" onClick={() => pickFiles(client, session.writable[0] ?? '', session)}>
              <Upload aria-hidden /> Upload, or drop files anywhere
            </button>
          ) : (
            session?.login && (
              <Link className="btn" href="login">
                Sign in to upload and compute
              </Link>
            )
          )}
        </div>
      </div>
      <h2>Roots</h2>
      {roots.data && published.length === 0 && <NoRoots />}
      <div className="cards">
        {roots.data
          ? ordered(roots.data).map((root) => <RootCard key={root.name} root={root} />)
          : [1, 2, 3].map((n) => <div key={n} className="skeleton" style={{ height: 112 }} />)}
      </div>
      {recent.data && recent.data.entries.length > 0 && (
        <>
          <h2>Recently changed</h2>
          <EntryList entries={recent.data.entries} />
        </>
      )}
      {opened.length > 0 && (
        <>
          <h2>Recently opened here</h2>
          <div className="card">
            {opened.map((path) => (
              <Link key={path} className="list-row" href={placeOf(path)}>
                <span className="grow">{path}</span>
                <ArrowRight aria-hidden />
              </Link>
            ))}
          </div>
        </>
      )}
    </div>
  );
}

function NoRoots() {
  return (
    <p className="notice" style={{ marginBottom: 14 }}>
      No publisher has announced a root yet. Start one beside its data: <code>cat2pub NAME DIRECTORY</code>
    </p>
  );
}

function RootCard({ root }: { root: Root }) {
  const subscribe = useSubscribe();
  const count = useRootCount(root.name, Boolean(root.subscribed)).data;
  const local = root.name.startsWith('@');
  const Icon = root.name === '@personal' ? Lock : Database;
  const body = (
    <>
      <div className="root-card-head">
        <Icon aria-hidden />
        <span className="grow">{root.name}</span>
        <RootState root={root} />
      </div>
      <div className="muted">{local ? 'stored on this server' : root.description || root.http}</div>
      {root.subscribed ? (
        <div>
          {count !== undefined && (
            <>
              <b className="num">{format.count(count)}</b> {count === 1 ? 'dataset or file' : 'datasets and files'}
              {root.nbytes ? ` · ${format.bytes(root.nbytes)}` : ''}
            </>
          )}
        </div>
      ) : (
        <div>
          <button
            type="button"
            className="btn small"
            disabled={subscribe.isPending}
            onClick={() => subscribe.mutate(root.name)}
          >
            Subscribe
          </button>
        </div>
      )}
    </>
  );
  return root.subscribed ? (
    <Link className="card root-card" href={placeOf(root.name)}>
      {body}
    </Link>
  ) : (
    <div className="card root-card">{body}</div>
  );
}

export function RootState({ root }: { root: Root }) {
  if (root.name.startsWith('@')) {
    return (
      <span className="chip">
        <HardDrive aria-hidden /> local
      </span>
    );
  }
  return root.state === 'offline' ? (
    <span className="chip warn" title={root.offline_since ? `since ${format.time(root.offline_since)}` : undefined}>
      <CloudOff aria-hidden /> publisher offline
    </span>
  ) : (
    <span className="chip good">
      <Wifi aria-hidden /> publisher online
    </span>
  );
}

interface EntryListProps {
  entries: Entry[];
  /** Folder whose name goes without saying. */
  below?: string;
}

export function EntryList({ entries, below }: EntryListProps) {
  return (
    <div className="card">
      {entries.map((entry) => {
        const Icon = iconOf(entry);
        return (
          <Link key={entry.path} className="list-row" href={placeOf(entry.path)}>
            <Icon aria-hidden />
            <span className="grow">{below ? entry.path.slice(below.length + 1) : entry.path}</span>
            {entry.shape && <span className="muted mono hide-small">{format.shape(entry.shape)}</span>}
            <span className="muted num">{format.bytes(entry.nbytes)}</span>
            <span className="muted hide-small">{format.ago(entry.mtime)}</span>
            <ArrowRight aria-hidden />
          </Link>
        );
      })}
    </div>
  );
}
