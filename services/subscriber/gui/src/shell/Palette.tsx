import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Cpu, Search, Terminal, type LucideIcon } from 'lucide-react';
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import { infoLabel } from '../api/dtype';
import { search, useSession } from '../api/queries';
import type { Entry } from '../api/types';
import { makeLazy } from '../state/actions';
import { navigate, placeOf } from '../state/location';
import { change, settings } from '../state/settings';
import * as format from '../ui/format';
import { iconOf } from '../ui/KindIcon';
import { Marked } from '../ui/Marked';
import { findCommands, type Command } from './commands';
import { parseExpression, resolveOperands, tag, wordsOf, type Expression } from './expression';

const SHOWN = 50;

interface Props {
  open: string;
  start: string;
  onClose: () => void;
}

type Mode = 'search' | 'command' | 'expression';

/** One box for everything: datasets, `>` commands, `name = expression`. */
export default function Palette({ open, start, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState(start);
  const [chosen, setChosen] = useState(0);
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const [past, setPast] = useState(-1);
  const client = useQueryClient();
  const signedIn = useSession().data?.email != null;
  const expression = parseExpression(text.replace(/^=/, ''));
  const mode: Mode = text.startsWith('>') ? 'command' : expression || text.startsWith('=') ? 'expression' : 'search';
  const words = text.trim().split(/\s+/).filter(Boolean);
  const found = useFoundFor(mode, words, expression);
  const entries = found.data?.entries ?? [];
  const listed = entries.map((entry) => entry.path);
  const commands =
    mode === 'command'
      ? findCommands(text.slice(1))
      : mode === 'search' && words.length
        ? findCommands(text).slice(0, 3)
        : [];
  const rows: (Entry | Command)[] =
    mode === 'expression' ? [] : mode === 'command' ? commands : [...entries, ...commands];
  const at = Math.min(chosen, Math.max(rows.length - 1, 0));

  useEffect(() => {
    if (dialog.current && !dialog.current.open) dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  useEffect(() => {
    dialog.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [at]);

  function type(next: string) {
    setText(next);
    setChosen(0);
    setError('');
  }

  async function run(action: () => Promise<void> | void) {
    setBusy(true);
    try {
      await action();
      change({ history: [text, ...settings().history.filter((line) => line !== text)].slice(0, 30) });
      onClose();
    } catch (problem) {
      setError((problem as Error).message);
    } finally {
      setBusy(false);
    }
  }

  const pathOf = (word: string) => {
    if (word === 'this') return open;
    const byTag = listed.findIndex((_, i) => tag(i) === word);
    return byTag >= 0 ? (listed[byTag] ?? word) : word;
  };

  function accept(row: Entry | Command | undefined) {
    if (expression) {
      const { operands, unknown } = resolveOperands(expression, open, listed);
      if (unknown.length) setError(`No dataset is called ${unknown.join(', ')}.`);
      else {
        void run(async () => {
          const { name, formula, compute } = expression;
          navigate(placeOf(await makeLazy(client, name, formula, operands, compute)));
        });
      }
    } else if (row && 'run' in row) {
      const typed = wordsOf(text.replace(/^>/, ''));
      const complete = row.names.includes(typed[0] ?? '');
      if (!complete && row.usage.includes(' ')) type(`> ${row.names[0]} `);
      else void run(() => row.run(complete ? typed.slice(1) : [], { client, open, path: pathOf }));
    } else if (row) void run(() => navigate(placeOf(row.path)));
  }

  function onKey(event: KeyboardEvent) {
    const { history } = settings();
    if (event.key === 'ArrowDown') setChosen(Math.min(at + 1, rows.length - 1));
    else if (event.key === 'ArrowUp' && at > 0) setChosen(at - 1);
    else if (event.key === 'ArrowUp' && history[past + 1] !== undefined && (text === '' || past >= 0)) {
      setPast(past + 1);
      setText(history[past + 1] ?? '');
    } else if (event.key === 'Enter' && !busy) accept(rows[at]);
    else return;
    event.preventDefault();
  }

  const Icon: LucideIcon = { search: Search, command: Terminal, expression: Cpu }[mode];
  return (
    <dialog
      ref={dialog}
      className="palette-dialog"
      aria-label="Search, commands and expressions"
      onCancel={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <div className="palette">
        <div className="palette-head">
          <Icon aria-hidden />
          <input
            role="combobox"
            aria-expanded={rows.length > 0}
            aria-controls="palette-rows"
            aria-activedescendant={rows.length > 0 ? `palette-${at}` : undefined}
            aria-label="Search datasets, > for commands, name = expression"
            placeholder="Search, > command, or name = expression"
            spellCheck={false}
            autoComplete="off"
            value={text}
            onChange={(event) => type(event.target.value)}
            onKeyDown={onKey}
          />
        </div>
        {error && (
          <p className="palette-note notice bad" role="alert">
            {error}
          </p>
        )}
        {mode === 'expression' ? (
          <Preview expression={expression} open={open} entries={entries} signedIn={signedIn} />
        ) : (
          <div id="palette-rows" className="palette-list" role="listbox" aria-label="Results">
            {rows.map((row, i) => (
              <div
                key={'run' in row ? `>${row.names[0]}` : row.path}
                id={`palette-${i}`}
                className="palette-row"
                role="option"
                aria-selected={i === at}
                onClick={() => accept(row)}
                onPointerMove={() => setChosen(i)}
              >
                {'run' in row ? <CommandRow command={row} /> : <EntryRow entry={row} words={words} tagged={tag(i)} />}
              </div>
            ))}
            {rows.length === 0 && (
              <p className="palette-note muted">{found.isFetching ? 'Searching…' : 'Nothing matches.'}</p>
            )}
          </div>
        )}
        <div className="palette-foot">
          <span>
            <kbd>↑↓</kbd> choose
          </span>
          <span>
            <kbd>↵</kbd> open
          </span>
          <span>
            <kbd>&gt;</kbd> command
          </span>
          <span>
            <kbd>=</kbd> expression
          </span>
          <span>
            <kbd>Esc</kbd> close
          </span>
        </div>
      </div>
    </dialog>
  );
}

function useFoundFor(mode: Mode, words: string[], expression: Expression | null) {
  const [settled, setSettled] = useState('');
  const wanted = mode === 'search' ? words.join(' ') : '';
  useEffect(() => {
    const timer = window.setTimeout(() => setSettled(wanted), 80);
    return () => window.clearTimeout(timer);
  }, [wanted]);
  const limit = expression ? 5000 : SHOWN;
  return useQuery({
    queryKey: ['search', 'palette', settled, limit],
    queryFn: ({ signal }) => search(settled, limit, signal),
    placeholderData: (previous) => previous,
  });
}

function CommandRow({ command }: { command: Command }) {
  return (
    <>
      <Terminal aria-hidden />
      <span className="what">
        <code>{command.usage}</code>
      </span>
      <span className="muted">{command.help}</span>
    </>
  );
}

function EntryRow({ entry, words, tagged }: { entry: Entry; words: string[]; tagged: string }) {
  const Icon = iconOf(entry);
  return (
    <>
      <Icon aria-hidden />
      <kbd aria-label={`tag ${tagged}`}>{tagged}</kbd>
      <span className="what">
        <Marked text={entry.path} words={words} />
      </span>
      <span className="muted mono">
        {entry.shape ? `${infoLabel(entry.dtype ?? '')} ${format.shortShape(entry.shape)}` : format.bytes(entry.nbytes)}
      </span>
    </>
  );
}

interface PreviewProps {
  expression: Expression | null;
  open: string;
  entries: Entry[];
  signedIn: boolean;
}

function Preview({ expression, open, entries, signedIn }: PreviewProps) {
  if (!signedIn)
    return <p className="palette-note notice">Sign in to make expressions; they are kept in your @personal.</p>;
  if (!expression) {
    return (
      <p className="palette-note muted">
        <code>name = formula</code> is computed when it is read, <code>name := formula</code> is computed and stored.
        {open && (
          <>
            {' '}
            <code>this</code> is the open dataset.
          </>
        )}
      </p>
    );
  }
  const { operands, unknown } = resolveOperands(
    expression,
    open,
    entries.map((entry) => entry.path),
  );
  return (
    <div className="palette-note stack" aria-live="polite">
      <div>
        {Object.entries(operands).map(([name, path]) => (
          <div key={name} className="row">
            <code>
              <b>{name}</b>
            </code>
            <span>{path}</span>
            <code className="muted">
              {format.shortShape(entries.find((entry) => entry.path === path)?.shape ?? [])}
            </code>
          </div>
        ))}
        {unknown.map((name) => (
          <div key={name} className="row">
            <code>
              <b>{name}</b>
            </code>
            <span className="chip bad">no such dataset</span>
          </div>
        ))}
      </div>
      <div>
        ↵ creates <b>@personal/{expression.name.replace(/\.b2nd$/, '')}.b2nd</b>,{' '}
        {expression.compute ? 'computed now and stored' : 'computed when it is read'}
      </div>
    </div>
  );
}
