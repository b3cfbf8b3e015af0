import type { ReactNode } from 'react';

/** What a plot shows, in words; the Table tab has its values as text. */
export function Figure({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="plot h5w" role="figure" aria-label={label}>
      {children}
    </div>
  );
}
