/** What a person prefers, kept in this browser. */
import { useSyncExternalStore } from 'react';

export interface Settings {
  theme: 'system' | 'light' | 'dark';
  colorMap: string;
  treeWidth: number;
  treeOpen: boolean;
  shortcuts: boolean;
  recent: string[];
  history: string[];
}

const DEFAULTS: Settings = {
  theme: 'system',
  colorMap: 'Viridis',
  treeWidth: 300,
  treeOpen: true,
  shortcuts: true,
  recent: [],
  history: [],
};
const KEY = 'caterva2';
const listeners = new Set<() => void>();
let current = load();

function load(): Settings {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Settings>) };
  } catch {
    return DEFAULTS;
  }
}

export function settings(): Settings {
  return current;
}

export function change(part: Partial<Settings>): void {
  current = { ...current, ...part };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Storage may be full or forbidden; the settings then last as long as the page.
  }
  for (const listener of listeners) listener();
}

export function useSettings(): Settings {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, settings);
}

export function remember(path: string): void {
  if (current.recent[0] !== path) change({ recent: [path, ...current.recent.filter((p) => p !== path)].slice(0, 8) });
}

const dark = typeof matchMedia === 'function' ? matchMedia('(prefers-color-scheme: dark)') : null;

export function isDark(theme: Settings['theme']): boolean {
  return theme === 'dark' || (theme === 'system' && (dark?.matches ?? false));
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = isDark(current.theme) ? 'dark' : 'light';
}

/** Keep the page in the theme that settings and system ask for. */
export function followTheme(): void {
  applyTheme();
  listeners.add(applyTheme);
  dark?.addEventListener('change', applyTheme);
}
