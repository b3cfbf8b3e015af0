import { ChevronRight } from 'lucide-react';
import { placeOf } from '../state/location';
import { Link } from '../ui/Link';

export function Breadcrumbs({ path }: { path: string }) {
  const parts = path.split('/');
  return (
    <nav className="crumbs" aria-label="Place">
      {parts.map((part, i) => (
        <span key={i} className="row" style={{ gap: 6, flexWrap: 'nowrap' }}>
          {i > 0 && <ChevronRight aria-hidden />}
          {i < parts.length - 1 ? (
            <Link href={placeOf(parts.slice(0, i + 1).join('/'))}>{part}</Link>
          ) : (
            <span aria-current="page">{part}</span>
          )}
        </span>
      ))}
    </nav>
  );
}
