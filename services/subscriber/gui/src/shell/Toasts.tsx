import { X } from 'lucide-react';
import { dismiss, useNotices } from '../state/notices';

export function Toasts() {
  const notices = useNotices();
  return (
    <div className="toasts" role="status" aria-live="polite">
      {notices.map(({ id, text, tone, action }) => (
        <div key={id} className={`toast ${tone}`}>
          <span className="grow">{text}</span>
          {action && (
            <button type="button" className="btn small" onClick={action.run}>
              {action.label}
            </button>
          )}
          <button type="button" className="btn plain icon small" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <X aria-hidden />
          </button>
        </div>
      ))}
    </div>
  );
}
