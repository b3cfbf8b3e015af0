import { useQueryClient } from '@tanstack/react-query';
import {
  ChevronDown,
  Code,
  Copy,
  Cpu,
  Download,
  FolderTree,
  History,
  Link2,
  MoreHorizontal,
  Pencil,
  Trash2,
} from 'lucide-react';
import { useState, type FormEvent } from 'react';
import { infoLabel } from '../api/dtype';
import { quote, url } from '../api/http';
import { useSession } from '../api/queries';
import type { Info } from '../api/types';
import { unfold, useMove, useRemove } from '../state/actions';
import { navigate, placeOf } from '../state/location';
import { notify } from '../state/notices';
import { copy } from '../ui/copy';
import { Dialog } from '../ui/Dialog';
import * as format from '../ui/format';
import { Menu } from '../ui/Menu';
import { Breadcrumbs } from './Breadcrumbs';
import { CodeDialog } from './CodeDialog';
import type { Opened } from './DatasetPage';
import { currentSlice } from './selection';

const CONTAINER = /\.(h5|hdf5|zip|tar|tgz)$/i;

export function attributes(info: Info): Record<string, unknown> {
  const { _ftype, _dsetname, ...shown } = info.schunk?.vlmeta ?? info.vlmeta ?? {};
  return shown;
}

export function Header({ opened, onRetry }: { opened: Opened; onRetry: () => void }) {
  const [dialog, setDialog] = useState<'code' | 'move' | 'copy' | 'delete' | null>(null);
  const { path, info, stale } = opened;
  const session = useSession().data;
  const client = useQueryClient();
  const writable = session?.writable.includes(path.split('/')[0] ?? '') ?? false;
  const unfoldIt = () => {
    unfold(client, path).then(
      (folder) => navigate(placeOf(folder)),
      (error: Error) => notify(error.message, 'bad'),
    );
  };
  return (
    <div className="ds-head" style={{ borderBottom: 0 }}>
      <Breadcrumbs path={path} />
      <div className="ds-title">
        <h1 title={path}>{format.baseName(path)}</h1>
        <Facts info={info} stale={stale} onRetry={onRetry} />
        <div className="ds-actions">
          <button type="button" className="btn" onClick={() => void copy(window.location.href, 'Link')}>
            <Link2 aria-hidden /> <span>Copy link</span>
          </button>
          <button type="button" className="btn" onClick={() => setDialog('code')}>
            <Code aria-hidden /> <span>Code</span>
          </button>
          <DownloadMenu opened={opened} />
          {(writable || session?.email) && (
            <Menu className="btn icon" name="More actions" label={<MoreHorizontal aria-hidden />}>
              <button type="button" onClick={() => setDialog('copy')}>
                <Copy aria-hidden /> Copy to…
              </button>
              {writable && CONTAINER.test(path) && (
                <button type="button" onClick={unfoldIt}>
                  <FolderTree aria-hidden /> Unfold into datasets
                </button>
              )}
              {writable && (
                <>
                  <button type="button" onClick={() => setDialog('move')}>
                    <Pencil aria-hidden /> Rename or move…
                  </button>
                  <hr />
                  <button type="button" onClick={() => setDialog('delete')}>
                    <Trash2 aria-hidden /> Delete…
                  </button>
                </>
              )}
            </Menu>
          )}
        </div>
      </div>
      {dialog === 'code' && <CodeDialog opened={opened} onClose={() => setDialog(null)} />}
      {(dialog === 'move' || dialog === 'copy') && (
        <MoveDialog what={dialog} path={path} onClose={() => setDialog(null)} />
      )}
      {dialog === 'delete' && <DeleteDialog path={path} onClose={() => setDialog(null)} />}
    </div>
  );
}

interface FactsProps {
  info: Info;
  stale: number | null;
  onRetry: () => void;
}

function Facts({ info, stale, onRetry }: FactsProps) {
  const { units } = attributes(info);
  const schunk = info.schunk ?? info;
  const ratio = schunk.cratio ?? 0;
  const worthSaying = ratio >= 1.05;
  const nbytes = schunk.nbytes ?? info.size;
  return (
    <div className="facts" aria-label="Facts">
      {info.expression !== undefined && (
        <span className="chip">
          <Cpu aria-hidden /> computed
        </span>
      )}
      {info.dtype && <span className="chip">{infoLabel(info.dtype)}</span>}
      {info.shape && <span className="chip mono">{format.shape(info.shape)}</span>}
      {nbytes !== undefined && <span className="chip num">{format.bytes(nbytes)}</span>}
      {worthSaying && <span className="chip num">{ratio.toFixed(ratio < 100 ? 2 : 0)}× compressed</span>}
      {typeof units === 'string' && units && <span className="chip">{units}</span>}
      {stale !== null && (
        <button
          type="button"
          className="chip warn"
          title="The publisher cannot be reached; this is the last version known here. Click to ask again."
          onClick={onRetry}
        >
          <History aria-hidden /> as of {Math.round(stale)} s ago
        </button>
      )}
    </div>
  );
}

function DownloadMenu({ opened }: { opened: Opened }) {
  const { path, info, view, version } = opened;
  const slice = currentSlice(opened);
  const name = format.baseName(path);
  const whole = url(`api/download/${quote(path)}`);
  const part = (kind: string) =>
    url(`api/view/export/${quote(path)}`, { s: slice, format: kind, v: version || undefined });
  return (
    <Menu
      name="Download"
      label={
        <>
          <Download aria-hidden /> <span>Download</span> <ChevronDown aria-hidden />
        </>
      }
    >
      <a href={whole} download>
        {name}
      </a>
      {info.shape && (
        <>
          <hr />
          <div className="head">
            This slice <code>[{slice || ':'}]</code>
          </div>
          {['npy', 'csv'].map((kind) => (
            <a key={kind} href={part(kind)} download>
              .{kind}
            </a>
          ))}
          <a
            href={url(`api/fetch/${quote(path)}`, { slice_: slice, field: view.field ?? undefined })}
            download={sliceName(name, slice)}
          >
            .b2nd
          </a>
        </>
      )}
    </Menu>
  );
}

function sliceName(name: string, slice: string): string {
  return `${name.replace(/\.b2nd$/, '')}[${slice.replaceAll(':', '_')}].b2nd`;
}

interface MoveProps {
  what: 'move' | 'copy';
  path: string;
  onClose: () => void;
}

function MoveDialog({ what, path, onClose }: MoveProps) {
  const start = what === 'move' ? path : `@personal/${format.baseName(path)}`;
  const [to, setTo] = useState(start);
  const act = useMove(what);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate(
      { from: path, to },
      {
        onSuccess: (made) => {
          onClose();
          navigate(placeOf(made));
        },
      },
    );
  };
  return (
    <Dialog title={what === 'move' ? 'Rename or move' : 'Copy'} onClose={onClose}>
      <form className="stack" onSubmit={submit}>
        <label className="field">
          New path
          <input className="input mono" value={to} onChange={(event) => setTo(event.target.value)} autoFocus required />
          <span className="hint">Begins with @personal, @shared or @public.</span>
        </label>
        {act.error && (
          <p className="notice bad" role="alert">
            {act.error.message}
          </p>
        )}
        <div className="row">
          <button className="btn primary" disabled={act.isPending}>
            {what === 'move' ? 'Move' : 'Copy'}
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function DeleteDialog({ path, onClose }: { path: string; onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const remove = useRemove();
  const name = format.baseName(path);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    remove.mutate(path, {
      onSuccess: () => {
        onClose();
        navigate(placeOf(format.parentOf(path)));
      },
    });
  };
  return (
    <Dialog title={`Delete ${name}?`} onClose={onClose}>
      <form className="stack" onSubmit={submit}>
        <p className="muted">It is gone for good. Type its name to be sure.</p>
        <input
          className="input mono"
          aria-label={`Type ${name}`}
          value={typed}
          onChange={(e) => setTyped(e.target.value)}
          autoFocus
        />
        {remove.error && (
          <p className="notice bad" role="alert">
            {remove.error.message}
          </p>
        )}
        <div className="row">
          <button className="btn danger" disabled={typed !== name || remove.isPending}>
            Delete
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Keep it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
