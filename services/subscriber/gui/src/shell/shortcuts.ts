import { useEffect, useRef } from 'react';
import { navigate } from '../state/location';
import { settings } from '../state/settings';

interface Handlers {
  onPalette: (start: string) => void;
  onTree: () => void;
}

/** Whether keys belong to what has the focus. */
export function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return Boolean(element?.closest?.('input:not([type=range]), textarea, select, [contenteditable], dialog'));
}

/** Keys that work everywhere. Single keys can be switched off in Account (WCAG 2.1.4). */
export function useShortcuts(handlers: Handlers): void {
  const current = useRef(handlers);
  current.current = handlers;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        current.current.onPalette('');
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || !settings().shortcuts) return;
      const actions: Record<string, () => void> = {
        '/': () => document.getElementById('tree-filter')?.focus(),
        '=': () => current.current.onPalette('='),
        '>': () => current.current.onPalette('>'),
        '?': () => navigate('help'),
        b: () => current.current.onTree(),
      };
      const action = actions[event.key];
      if (action) {
        event.preventDefault();
        action();
      }
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
}
