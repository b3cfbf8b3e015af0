import type { AnchorHTMLAttributes, MouseEvent } from 'react';
import { navigate } from '../state/location';

/** A link inside the GUI: opens without loading the page, and in a new tab where the person asks for one. */
export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate(href);
  };
  return <a href={href || './'} onClick={follow} {...rest} />;
}
