import { useEffect, useId, useRef, useState, type ReactNode } from 'react';

interface Props {
  label: ReactNode;
  name?: string;
  className?: string;
  children: ReactNode;
}

// React 18 does not know popovers yet and hands unknown lower-case attributes on.
const POPOVER = { popover: 'auto' };

/** A button that opens a native popover below itself; choosing an entry closes it. */
export function Menu({ label, name, className = 'btn', children }: Props) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState(false);

  useEffect(() => {
    const element = menu.current;
    if (!element) return undefined;
    const toggled = (event: Event) => {
      const opened = (event as ToggleEvent).newState === 'open';
      setOpen(opened);
      const anchor = button.current?.getBoundingClientRect();
      if (opened && anchor) {
        const left = Math.min(anchor.left, window.innerWidth - element.offsetWidth - 8);
        element.style.left = `${Math.max(8, anchor.right - element.offsetWidth > 0 ? left : anchor.left)}px`;
        element.style.top = `${Math.min(anchor.bottom + 5, window.innerHeight - element.offsetHeight - 8)}px`;
      }
    };
    element.addEventListener('toggle', toggled);
    return () => element.removeEventListener('toggle', toggled);
  }, []);

  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={name}
        aria-expanded={open}
        {...{ popovertarget: id }}
      >
        {label}
      </button>
      <div
        ref={menu}
        id={id}
        className="menu"
        {...POPOVER}
        onClick={(event) => {
          if ((event.target as HTMLElement).closest('button, a')) menu.current?.hidePopover();
        }}
      >
        {children}
      </div>
    </>
  );
}
