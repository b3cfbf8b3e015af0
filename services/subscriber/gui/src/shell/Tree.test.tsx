import { QueryClientProvider } from '@tanstack/react-query';
import { act, fireEvent, render, screen, waitFor } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeQueryClient } from '../api/queries';
import type { Entry, Listing } from '../api/types';
import { Tree } from './Tree';
import { foundRows, treeRows } from './treeRows';

// How often the rows are made: the same functions, counted.
vi.mock(import('./treeRows'), async (original) => {
  const real = await original();
  return { ...real, treeRows: vi.fn(real.treeRows), foundRows: vi.fn(real.foundRows) };
});

const TOTAL = 50_000;
const PAGE = 1000;
const IN_VIEW = 60;
const PATIENCE = { timeout: 20_000 };

function entry(n: number): Entry {
  const path = `many/scan_${String(n).padStart(6, '0')}.b2nd`;
  return { path, kind: 'array', dtype: 'float32', shape: [8, 16], nbytes: 512, mtime: 1, etag: String(n) };
}

function page(first: number): Listing {
  const entries = Array.from({ length: PAGE }, (_, i) => entry(first + i));
  const next = first + PAGE < TOTAL ? (entries.at(-1)?.path ?? null) : null;
  return { path: 'many', folders: [], entries, next };
}

const everything = Array.from({ length: TOTAL / PAGE }, (_, i) => page(i * PAGE));
const asked: URL[] = [];

/** The server, as far as the tree asks it. */
function answer(target: URL): unknown {
  const after = target.searchParams.get('after');
  const first = after ? Number(/\d+/.exec(after)?.[0]) + 1 : 0;
  if (target.pathname.endsWith('/api/search')) {
    return { ...page(first), total: target.searchParams.get('q') === 'none' ? 0 : TOTAL };
  }
  return page(first);
}

beforeEach(() => {
  asked.length = 0;
  vi.stubGlobal(
    'ResizeObserver',
    class {
      observe() {}
      disconnect() {}
    },
  );
  vi.stubGlobal('fetch', async (target: string) => {
    asked.push(new URL(target));
    return new Response(JSON.stringify(answer(new URL(target))));
  });
});
afterEach(() => vi.unstubAllGlobals());

function show(pages: Listing[]) {
  const client = makeQueryClient();
  client.setQueryData(['roots'], [{ name: 'many', http: '', subscribed: true, state: 'online' }]);
  client.setQueryData(['browse', 'many'], pages);
  client.setQueryData(['search', 'count'], { entries: [], total: TOTAL, next: null });
  const shown = render(
    <QueryClientProvider client={client}>
      <Tree open="" />
    </QueryClientProvider>,
  );
  return { client, shown };
}

// By selector: to look for roles takes long.
const rows = () => document.querySelectorAll('[role=treeitem]');

function scrollTo(top: number) {
  const tree = document.getElementById('tree') as HTMLElement;
  tree.scrollTop = top;
  Object.defineProperty(tree, 'clientHeight', { value: 800 });
  fireEvent.scroll(tree);
}

describe('a tree of 50,000 datasets', { timeout: 60_000 }, () => {
  it('draws the rows in view alone, and makes none when somebody types or scrolls', async () => {
    const { client } = show(everything);
    await screen.findByText('scan_000000', {}, PATIENCE);
    expect(rows().length).toBeLessThan(IN_VIEW);
    expect(screen.getByText('scan_000000').closest('[role=treeitem]')).toHaveProperty('ariaSetSize', String(TOTAL));
    vi.mocked(treeRows).mockClear();

    scrollTo(28 * 40_000);
    expect(await screen.findByText('scan_040000', {}, PATIENCE)).toBeTruthy();
    expect(rows().length).toBeLessThan(IN_VIEW);

    const filter = document.getElementById('tree-filter') as HTMLElement;
    for (const text of ['s', 'sc', 'sca', 'scan']) {
      fireEvent.change(filter, { target: { value: text } });
      await waitFor(() => expect(client.getQueryState(['search', text, ''])?.status).toBe('success'), PATIENCE);
      expect(rows().length).toBeLessThan(IN_VIEW);
    }
    expect(screen.getByText('_000000')).toBeTruthy();
    expect(treeRows).not.toHaveBeenCalled();
    // For each answer at most twice, as drawing what can wait may begin anew; and for a page of it, not for all.
    const made = vi.mocked(foundRows).mock.calls.map(([entries]) => entries.length);
    expect(made.filter((count) => count > 0).length).toBeLessThanOrEqual(8);
    expect(Math.max(...made)).toBe(PAGE);
    expect(asked.length).toBe(4);
  });

  it('reads on where somebody scrolls to, and keeps that when something changes', async () => {
    const { client } = show([page(0)]);
    await screen.findByText('scan_000000', {}, PATIENCE);
    expect(asked).toEqual([]);
    scrollTo(28 * PAGE);
    expect(await screen.findByText('scan_001000', {}, PATIENCE)).toBeTruthy();
    expect(asked.map((target) => target.searchParams.get('after'))).toEqual(['many/scan_000999.b2nd']);

    await act(() => client.invalidateQueries({ queryKey: ['browse', 'many'] }));
    expect(screen.getByText('scan_001000')).toBeTruthy();
    expect(client.getQueryData<Listing[]>(['browse', 'many'])).toHaveLength(2);
  });
});
