import { useInfiniteQuery, useQueryClient } from '@tanstack/react-query';
import { ArrowRight, Folder, Inbox, Upload } from 'lucide-react';
import { ApiError } from '../api/http';
import { listing, useRoots, useSession } from '../api/queries';
import { DatasetPage } from '../dataset/DatasetPage';
import { Breadcrumbs } from '../dataset/Breadcrumbs';
import { useSubscribe } from '../state/actions';
import { placeOf } from '../state/location';
import { pickFiles } from '../state/uploads';
import * as format from '../ui/format';
import { Link } from '../ui/Link';
import { Problem } from '../ui/Problem';
import { EntryList, RootState } from './HomePage';

interface Props {
  path: string;
  /** What to say when there is no such folder either. */
  otherwise?: unknown;
}

/** A root or a folder: what is in it. */
export function FolderPage({ path, otherwise }: Props) {
  const client = useQueryClient();
  const session = useSession().data;
  const subscribe = useSubscribe();
  const name = path.split('/')[0] ?? '';
  const root = useRoots().data?.find((candidate) => candidate.name === name);
  const pages = useInfiniteQuery({
    queryKey: ['browse', path, 'page'],
    queryFn: ({ pageParam, signal }) => listing(path, pageParam || null, signal),
    initialPageParam: '',
    getNextPageParam: (page) => page.next ?? undefined,
    enabled: root?.subscribed !== null,
  });
  if (root && !root.subscribed) {
    return (
      <div className="center-page">
        <h1>{name}</h1>
        <RootState root={root} />
        <p className="muted">
          Subscribe to follow this root: its catalogue is then kept here, and chunks are fetched as you look at them.
        </p>
        <button
          type="button"
          className="btn primary"
          disabled={subscribe.isPending}
          onClick={() => subscribe.mutate(name)}
        >
          Subscribe
        </button>
      </div>
    );
  }
  // A name without a suffix may be a file all the same (LICENSE).
  if (!otherwise && pages.error instanceof ApiError && pages.error.code === 'not_a_container') {
    return <DatasetPage path={path} />;
  }
  if (pages.error) return <Problem error={otherwise ?? pages.error} onRetry={() => void pages.refetch()} />;
  const folders = pages.data?.pages.flatMap((page) => page.folders) ?? [];
  const entries = pages.data?.pages.flatMap((page) => page.entries) ?? [];
  const writable = session?.writable.includes(name);
  return (
    <div className="page">
      <div>
        <Breadcrumbs path={path} />
        <div className="row">
          <h1 className="grow">{format.baseName(path)}</h1>
          {root && <RootState root={root} />}
          {writable && (
            <button type="button" className="btn" onClick={() => pickFiles(client, path, session ?? null)}>
              <Upload aria-hidden /> Upload here
            </button>
          )}
        </div>
        {path === name && root?.description && <p className="lead">{root.description}</p>}
      </div>
      {folders.length > 0 && (
        <>
          <h2>Folders</h2>
          <div className="card">
            {folders.map((folder) => (
              <Link key={folder.name} className="list-row" href={placeOf(`${path}/${folder.name}`)}>
                <Folder aria-hidden />
                <span className="grow">{folder.name}</span>
                <span className="muted num">
                  {format.count(folder.count)} {folder.count === 1 ? 'dataset' : 'datasets'} ·{' '}
                  {format.bytes(folder.nbytes)}
                </span>
                <ArrowRight aria-hidden />
              </Link>
            ))}
          </div>
        </>
      )}
      {entries.length > 0 && (
        <>
          <h2>Datasets and files</h2>
          <EntryList entries={entries} below={path} />
        </>
      )}
      {pages.data && folders.length + entries.length === 0 && <Empty writable={Boolean(writable)} />}
      {pages.isPending && <div className="skeleton" style={{ height: 200, marginTop: 24 }} />}
      {pages.hasNextPage && (
        <button type="button" className="btn" style={{ marginTop: 12 }} onClick={() => void pages.fetchNextPage()}>
          More
        </button>
      )}
    </div>
  );
}

function Empty({ writable }: { writable: boolean }) {
  return (
    <div className="empty">
      <Inbox aria-hidden />
      <p>Nothing is here yet.</p>
      {writable && (
        <p className="muted">
          Drop files anywhere on this page, press <i>Upload here</i>, or press <kbd>=</kbd> to compute a dataset from
          others.
        </p>
      )}
    </div>
  );
}
