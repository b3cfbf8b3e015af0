import { useQueryClient } from '@tanstack/react-query';
import { RotateCcw, X } from 'lucide-react';
import { useEffect, useState } from 'react';
import { useSession } from '../api/queries';
import { cancelUpload, dropUpload, enqueue, retryUpload, useUploadQueue, type Clash } from '../state/uploads';
import * as format from '../ui/format';
import { Dialog } from '../ui/Dialog';

/** Files dropped anywhere go to the open folder; their progress stays in view. */
export function Uploads({ open }: { open: string }) {
  const session = useSession().data;
  const client = useQueryClient();
  const [dragging, setDragging] = useState(false);
  const { items, clash } = useUploadQueue();
  const target = targetFolder(open, session?.writable ?? []);

  useEffect(() => {
    let depth = 0;
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    const enter = (event: DragEvent) => {
      if (hasFiles(event)) setDragging(++depth > 0);
    };
    const leave = (event: DragEvent) => {
      if (hasFiles(event)) setDragging(--depth > 0);
    };
    const over = (event: DragEvent) => event.preventDefault();
    const drop = (event: DragEvent) => {
      event.preventDefault();
      depth = 0;
      setDragging(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length && target) enqueue(client, files, target, session ?? null);
    };
    const listeners = { dragenter: enter, dragleave: leave, dragover: over, drop } as const;
    for (const [type, listener] of Object.entries(listeners)) window.addEventListener(type, listener as EventListener);
    return () => {
      for (const [type, listener] of Object.entries(listeners)) {
        window.removeEventListener(type, listener as EventListener);
      }
    };
  }, [client, target, session]);

  return (
    <>
      {dragging && (
        <div className="drop-target">{target ? `Drop to upload to ${target}` : 'Sign in to upload files'}</div>
      )}
      {items.length > 0 && (
        <section className="uploads card" aria-label="Uploads">
          {items.map((item) => (
            <div key={item.id}>
              <div className="row">
                <span className="grow">
                  {item.file.name} <span className="muted">{format.bytes(item.file.size)}</span>
                </span>
                {item.state === 'failed' && (
                  <button
                    type="button"
                    className="btn plain icon small"
                    aria-label={`Try ${item.file.name} again`}
                    onClick={() => retryUpload(client, item.id)}
                  >
                    <RotateCcw aria-hidden />
                  </button>
                )}
                <button
                  type="button"
                  className="btn plain icon small"
                  aria-label={`Cancel ${item.file.name}`}
                  onClick={() => (item.state === 'failed' ? dropUpload(item.id) : cancelUpload(item.id))}
                >
                  <X aria-hidden />
                </button>
              </div>
              {item.state === 'failed' ? (
                <p className="notice bad" role="alert">
                  {item.error}
                </p>
              ) : (
                <progress aria-label={`Uploading ${item.file.name}`} value={item.sent} max={item.file.size || 1} />
              )}
            </div>
          ))}
        </section>
      )}
      {clash && <ClashDialog clash={clash} />}
    </>
  );
}

function ClashDialog({ clash }: { clash: Clash }) {
  return (
    <Dialog title={`${clash.name} exists already`} onClose={() => clash.answer('cancel')}>
      <div className="stack">
        <p className="muted">
          {clash.folder} has a file of this name. Keep both, the new one as “{clash.other}”, or replace it?
        </p>
        <div className="row">
          <button type="button" className="btn primary" onClick={() => clash.answer('both')}>
            Keep both
          </button>
          <button type="button" className="btn danger" onClick={() => clash.answer('replace')}>
            Replace
          </button>
          <button type="button" className="btn" onClick={() => clash.answer('cancel')}>
            Cancel
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** Where dropped files go: the open folder if it can be written, else @personal. */
export function targetFolder(open: string, writable: string[]): string {
  const root = open.split('/')[0] ?? '';
  if (writable.includes(root)) return /\.[^./]+$/.test(open) ? open.slice(0, open.lastIndexOf('/')) : open;
  return writable.includes('@personal') ? '@personal' : (writable[0] ?? '');
}
