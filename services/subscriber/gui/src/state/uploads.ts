/** The queue of files on their way to the server. */
import type { QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { quote, url } from '../api/http';
import type { Session } from '../api/types';
import { refresh, unfold } from './actions';
import { navigate, placeOf } from './location';
import * as format from '../ui/format';
import { notify } from './notices';

export interface Upload {
  id: number;
  file: File;
  path: string;
  sent: number;
  state: 'waiting' | 'sending' | 'failed';
  error: string;
}

export interface Clash {
  name: string;
  other: string;
  folder: string;
  answer: (choice: 'both' | 'replace' | 'cancel') => void;
}

interface Queue {
  items: Upload[];
  clash: Clash | null;
}

let queue: Queue = { items: [], clash: null };
let nextId = 0;
const listeners = new Set<() => void>();
const running = new Map<number, XMLHttpRequest>();

function update(part: Partial<Queue>): void {
  queue = { ...queue, ...part };
  for (const listener of listeners) listener();
}

function patch(id: number, part: Partial<Upload>): void {
  update({ items: queue.items.map((item) => (item.id === id ? { ...item, ...part } : item)) });
}

export function useUploadQueue(): Queue {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => queue,
  );
}

export function enqueue(client: QueryClient, files: File[], folder: string, session: Session | null): void {
  const left = session?.space?.left ?? Infinity;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > left) {
    notify(`These files have ${format.bytes(total)}, the quota leaves ${format.bytes(left)}. Nothing was sent.`, 'bad');
    return;
  }
  const items = files.map((file) => ({
    id: ++nextId,
    file,
    path: `${folder}/${file.name}`,
    sent: 0,
    state: 'waiting' as const,
    error: '',
  }));
  update({ items: [...queue.items, ...items] });
  void work(client);
}

export function retryUpload(client: QueryClient, id: number): void {
  patch(id, { state: 'waiting', sent: 0, error: '' });
  void work(client);
}

export function cancelUpload(id: number): void {
  running.get(id)?.abort();
  dropUpload(id);
}

export function dropUpload(id: number): void {
  update({ items: queue.items.filter((item) => item.id !== id) });
}

async function work(client: QueryClient): Promise<void> {
  for (;;) {
    const item = queue.items.find((candidate) => candidate.state === 'waiting');
    if (!item || running.size > 0) return;
    patch(item.id, { state: 'sending' });
    try {
      const path = await free(item.path);
      if (path === null) dropUpload(item.id);
      else await finish(client, item, await post(item, path));
    } catch (error) {
      patch(item.id, { state: 'failed', error: (error as Error).message });
    }
  }
}

/** The path under which to store: asks when something of the name exists. */
async function free(path: string): Promise<string | null> {
  if (!(await exists(path))) return path;
  const dot = path.lastIndexOf('.');
  let other = path;
  for (let n = 2; await exists(other); n++) other = `${path.slice(0, dot)} (${n})${path.slice(dot)}`;
  const slash = path.lastIndexOf('/');
  const choice = await new Promise<'both' | 'replace' | 'cancel'>((answer) => {
    update({
      clash: { name: path.slice(slash + 1), other: other.slice(slash + 1), folder: path.slice(0, slash), answer },
    });
  });
  update({ clash: null });
  return { both: other, replace: path, cancel: null }[choice];
}

async function exists(path: string): Promise<boolean> {
  const response = await fetch(url(`api/info/${quote(path)}`), { credentials: 'same-origin' });
  return response.ok;
}

/** Send by XMLHttpRequest: fetch does not report how much went out. */
function post(item: Upload, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    running.set(item.id, sender);
    sender.open('POST', url(`api/upload/${quote(path)}`));
    sender.upload.onprogress = (event) => patch(item.id, { sent: Math.min(event.loaded, item.file.size) });
    sender.onload = () => {
      if (sender.status < 300) resolve(JSON.parse(sender.responseText) as string);
      else reject(new Error(reason(sender)));
    };
    sender.onerror = () => reject(new Error('The connection broke off. Try again.'));
    sender.onabort = () => reject(new Error('Cancelled.'));
    sender.onloadend = () => running.delete(item.id);
    const form = new FormData();
    form.append('file', item.file);
    sender.send(form);
  });
}

function reason(sender: XMLHttpRequest): string {
  try {
    const { detail } = JSON.parse(sender.responseText) as { detail: unknown };
    return typeof detail === 'string' ? detail : 'The server refused the file.';
  } catch {
    return `The server answered ${sender.status}.`;
  }
}

const CONTAINER = /\.(h5|hdf5|zip|tar|tgz|tar\.gz)$/i;

async function finish(client: QueryClient, item: Upload, path: string): Promise<void> {
  dropUpload(item.id);
  refresh(client, path);
  void client.invalidateQueries({ queryKey: ['session'] });
  const action = CONTAINER.test(path)
    ? {
        label: 'Unfold',
        run: () => {
          unfold(client, path).then(
            (folder) => navigate(placeOf(folder)),
            (error: Error) => notify(error.message, 'bad'),
          );
        },
      }
    : { label: 'Open', run: () => navigate(placeOf(path)) };
  notify(`Uploaded ${path}`, 'good', action);
}

/** Ask for files with the browser's own dialog and upload them to `folder`. */
export function pickFiles(client: QueryClient, folder: string, session: Session | null): void {
  const input = document.createElement('input');
  input.type = 'file';
  input.multiple = true;
  input.onchange = () => enqueue(client, [...(input.files ?? [])], folder, session);
  input.click();
}
