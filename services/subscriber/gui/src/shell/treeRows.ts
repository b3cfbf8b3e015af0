/** The visible rows of the tree, from what is known of roots, folders and search results. */
import type { Entry, Listing, Root } from '../api/types';
import { baseName } from '../ui/format';

export interface Row {
  key: string;
  type: 'root' | 'folder' | 'entry' | 'more' | 'note';
  path: string;
  label: string;
  level: number;
  expanded: boolean | null;
  /** Position among its siblings, from 1, and their number. */
  position: number;
  siblings: number;
  extra: string;
  entry?: Entry;
  root?: Root;
  note?: string;
}

export interface Known {
  /** Pages of a folder as far as they are loaded; undefined while the first one is not. */
  pages: Listing[] | undefined;
  error: unknown;
}

const SPECIAL = ['@personal', '@shared', '@public'];

/** Published roots by name, then the roots that live at this server. */
export function ordered(roots: Root[]): Root[] {
  const rank = (root: Root) => (root.name.startsWith('@') ? 1 + SPECIAL.indexOf(root.name) : 0);
  return [...roots].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** Rows of the whole tree, folders opened as in `expanded`. */
export function treeRows(
  roots: Root[],
  expanded: ReadonlySet<string>,
  known: (path: string) => Known,
  describe: (entry: Entry) => string,
): Row[] {
  const rows: Row[] = [];
  const shown = ordered(roots);

  function children(path: string, level: number): void {
    const { pages, error } = known(path);
    if (!pages) {
      rows.push(noteRow(path, level, error ? String((error as Error).message) : 'Loading…'));
      return;
    }
    const folders = pages.flatMap((page) => page.folders);
    const entries = pages.flatMap((page) => page.entries);
    const siblings = folders.length + entries.length;
    folders.forEach((folder, i) => {
      const below = `${path}/${folder.name}`;
      const open = expanded.has(below);
      rows.push({
        key: `${below}/`,
        type: 'folder',
        path: below,
        label: folder.name,
        level,
        expanded: open,
        position: i + 1,
        siblings,
        extra: String(folder.count),
      });
      if (open) children(below, level + 1);
    });
    entries.forEach((entry, i) => {
      rows.push(entryRow(entry, level, folders.length + i + 1, siblings, describe(entry)));
    });
    if (siblings === 0) rows.push(noteRow(path, level, 'Empty'));
    if (pages.at(-1)?.next) rows.push({ ...noteRow(path, level, 'More…'), type: 'more', key: `${path}/…` });
  }

  shown.forEach((root, i) => {
    const open = expanded.has(root.name);
    rows.push({
      key: root.name,
      type: 'root',
      path: root.name,
      label: root.name,
      level: 0,
      expanded: root.subscribed ? open : null,
      position: i + 1,
      siblings: shown.length,
      extra: '',
      root,
    });
    if (open && root.subscribed) children(root.name, 1);
  });
  return rows;
}

/** Rows of search results, grouped by folder. */
export function foundRows(entries: Entry[], describe: (entry: Entry) => string): Row[] {
  const rows: Row[] = [];
  let group = '';
  const sizes = new Map<string, number>();
  const folderOf = (entry: Entry) => entry.path.slice(0, Math.max(entry.path.lastIndexOf('/'), 0));
  for (const entry of entries) sizes.set(folderOf(entry), (sizes.get(folderOf(entry)) ?? 0) + 1);
  let position = 0;
  let groups = 0;
  for (const entry of entries) {
    const folder = folderOf(entry);
    if (folder !== group) {
      group = folder;
      position = 0;
      groups += 1;
      rows.push({
        key: `${folder}/`,
        type: 'folder',
        path: folder,
        label: folder,
        level: 0,
        expanded: true,
        position: groups,
        siblings: sizes.size,
        extra: String(sizes.get(folder)),
      });
    }
    position += 1;
    rows.push(entryRow(entry, 1, position, sizes.get(folder) ?? 1, describe(entry)));
  }
  return rows;
}

function entryRow(entry: Entry, level: number, position: number, siblings: number, extra: string): Row {
  const label = baseName(entry.path).replace(/\.(b2nd|b2frame)$/, '');
  return {
    key: entry.path,
    type: 'entry',
    path: entry.path,
    label,
    level,
    expanded: null,
    position,
    siblings,
    extra,
    entry,
  };
}

function noteRow(path: string, level: number, note: string): Row {
  return {
    key: `${path}/?`,
    type: 'note',
    path,
    label: note,
    level,
    expanded: null,
    position: 1,
    siblings: 1,
    extra: '',
    note,
  };
}

/** Parts of `text`, those that match one of the words marked. */
export function marked(text: string, words: string[]): { text: string; hit: boolean }[] {
  const wanted = words.filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (wanted.length === 0) return [{ text, hit: false }];
  const found = text.split(new RegExp(`(${wanted.join('|')})`, 'gi'));
  return found.map((part, i) => ({ text: part, hit: i % 2 === 1 })).filter((part) => part.text !== '');
}
