import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { search } from '../api/queries';
import { Dialog } from '../ui/Dialog';
import * as format from '../ui/format';
import { lineOf } from './curves';

const SHOWN = 30;

interface Props {
  onChoose: (line: string) => void;
  onClose: () => void;
}

/** Choose a dataset whose line is drawn beside the open one. */
export function CompareDialog({ onChoose, onClose }: Props) {
  const [words, setWords] = useState('');
  const found = useQuery({
    queryKey: ['search', 'compare', words],
    queryFn: ({ signal }) => search(words, 200, signal),
    placeholderData: (previous) => previous,
  });
  const lines = (found.data?.entries ?? []).flatMap((entry) => {
    const line = lineOf(entry);
    return line ? [{ entry, line }] : [];
  });
  return (
    <Dialog title="Compare with" onClose={onClose} wide>
      <div className="stack">
        <input
          className="input"
          type="search"
          placeholder="Name, type or shape of a dataset"
          aria-label="Dataset to compare with"
          value={words}
          onChange={(event) => setWords(event.target.value)}
          autoFocus
        />
        <div className="card choices">
          {lines.slice(0, SHOWN).map(({ entry, line }) => (
            <button key={line} type="button" className="list-row" onClick={() => onChoose(line)}>
              <span className="grow">{entry.path}</span>
              <span className="muted mono">{format.shortShape(entry.shape ?? [])}</span>
            </button>
          ))}
          {found.data && lines.length === 0 && <p className="tree-note">No dataset with numbers matches.</p>}
        </div>
        <p className="muted">Of a dataset with more axes, the line through its middle is drawn.</p>
      </div>
    </Dialog>
  );
}
