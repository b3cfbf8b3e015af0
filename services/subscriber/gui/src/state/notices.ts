/** Short messages to the person: toasts, and what the status bar says of the last read. */
import { useSyncExternalStore } from 'react';
import type { Cost } from '../api/queries';

export interface Notice {
  id: number;
  text: string;
  tone: 'info' | 'good' | 'bad';
  action?: { label: string; run: () => void };
}

class Store<T> {
  private readonly listeners = new Set<() => void>();
  constructor(private value: T) {}
  readonly get = (): T => this.value;
  readonly set = (value: T): void => {
    this.value = value;
    for (const listener of this.listeners) listener();
  };
  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

const notices = new Store<Notice[]>([]);
const cost = new Store<Cost | null>(null);
let lastId = 0;
const SHOWN_MS = 7000;

export function notify(text: string, tone: Notice['tone'] = 'info', action?: Notice['action']): void {
  const notice = { id: ++lastId, text, tone, action };
  notices.set([...notices.get().slice(-3), notice]);
  window.setTimeout(() => dismiss(notice.id), tone === 'bad' ? 2 * SHOWN_MS : SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.set(notices.get().filter((notice) => notice.id !== id));
}

export function useNotices(): Notice[] {
  return useSyncExternalStore(notices.subscribe, notices.get);
}

export const reportCost = cost.set;

export function useCost(): Cost | null {
  return useSyncExternalStore(cost.subscribe, cost.get);
}
