/** Things that people do to roots and datasets; each says how it went and refreshes what it changed. */
import { useMutation, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { quote, send } from '../api/http';
import { parentOf } from '../ui/format';
import { notify } from './notices';

/** Forget what is known of a path and of the folders and searches that show it. */
export function refresh(client: QueryClient, path: string): void {
  const root = path.split('/')[0] ?? '';
  void client.invalidateQueries({ queryKey: ['info', path] });
  void client.invalidateQueries({ queryKey: ['search'] });
  void client.invalidateQueries({ queryKey: ['roots'] });
  for (let folder = parentOf(path); folder; folder = parentOf(folder)) {
    void client.invalidateQueries({ queryKey: ['browse', folder] });
  }
  void client.invalidateQueries({ queryKey: ['browse', root] });
}

function failed(error: Error): void {
  notify(error.message, 'bad');
}

export function useSubscribe() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (root: string) => send('POST', `api/subscribe/${quote(root)}`),
    onSuccess: (_, root) => {
      notify(`Subscribed to ${root}`, 'good');
      void client.invalidateQueries();
    },
    onError: failed,
  });
}

export interface Transfer {
  from: string;
  to: string;
}

export function useMove(what: 'move' | 'copy') {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ from, to }: Transfer) => send<string>('POST', `api/${what}/`, { src: from, dst: to }),
    onSuccess: (path, { from }) => {
      notify(`${what === 'move' ? 'Moved' : 'Copied'} to ${path}`, 'good');
      refresh(client, from);
      refresh(client, path);
    },
  });
}

export function useRemove() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (path: string) => send('POST', `api/remove/${quote(path)}`),
    onSuccess: (_, path) => {
      notify(`Deleted ${path}`, 'good');
      refresh(client, path);
    },
  });
}

/** Fold a container (HDF5, zip, tar) out into datasets beside it. */
export async function unfold(client: QueryClient, path: string): Promise<string> {
  const stem = await send<string>('POST', `api/unfold/${quote(path)}`);
  const folder = [parentOf(path), stem].filter(Boolean).join('/');
  refresh(client, path);
  return folder;
}

export async function makeLazy(
  client: QueryClient,
  name: string,
  expression: string,
  operands: Record<string, string>,
  compute: boolean,
): Promise<string> {
  const path = await send<string>('POST', 'api/lazyexpr/', { name, expression, operands, compute });
  refresh(client, path);
  return path;
}
