import { CloudOff, Lock, SearchX, ServerCrash, type LucideIcon } from 'lucide-react';
import { ApiError } from '../api/http';
import { useSession } from '../api/queries';
import { copy } from './copy';
import { Link } from './Link';

function shown(error: unknown): [icon: LucideIcon, title: string] {
  const status = error instanceof ApiError ? error.status : 500;
  if (status === 404) return [SearchX, 'Nothing here'];
  if (status === 401 || status === 403) return [Lock, 'Not for everybody'];
  if (status === 0 || status === 503 || status === 504) return [CloudOff, 'Out of reach'];
  return [ServerCrash, 'This did not work'];
}

/** A whole page that says what is wrong and what can be done about it. */
export function Problem({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const [Icon, title] = shown(error);
  const session = useSession().data;
  const maySignIn = session?.login !== false && !session?.email;
  const status = error instanceof ApiError ? error.status : 0;
  const id = error instanceof ApiError ? error.requestId : '';
  return (
    <div className="center-page" role="alert">
      <Icon aria-hidden />
      <h1>{title}</h1>
      <p className="muted">{error instanceof Error ? error.message : String(error)}</p>
      <div className="row">
        {onRetry && (
          <button type="button" className="btn primary" onClick={onRetry}>
            Try again
          </button>
        )}
        {maySignIn && (status === 401 || status === 403 || status === 404) && (
          <Link className="btn" href={`login?next=${encodeURIComponent(location.pathname + location.search)}`}>
            Sign in
          </Link>
        )}
        <Link className="btn" href="">
          All roots
        </Link>
      </div>
      {id && (
        <button type="button" className="btn plain small" onClick={() => void copy(id, 'Request id')}>
          Request {id}
        </button>
      )}
    </div>
  );
}
