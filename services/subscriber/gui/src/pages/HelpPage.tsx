import { useQuery } from '@tanstack/react-query';
import { getJson } from '../api/http';

const KEYS: [string, string][] = [
  ['Ctrl K', 'Search, commands, expressions'],
  ['/', 'Filter datasets'],
  ['=', 'New expression'],
  ['>', 'Run a command'],
  ['b', 'Show or hide datasets'],
  ['?', 'This page'],
  ['1 … 4', 'Display, table, metadata, chunks'],
  ['[  ]', 'Previous or next slice; with Shift, ten at a time'],
  ['Space', 'Play or stop the stack'],
  ['l', 'Next colour scale: linear, log, symlog, sqrt'],
  ['0', 'Reset the zoom'],
  ['+  −  arrows', 'Zoom and pan the picture that has the focus'],
  ['g', 'Go to a row of the table'],
  ['s', 'Subscribe to the root marked in the tree'],
  ['Esc', 'Close what is open'],
];

interface Server {
  name: string;
  version: string;
  packages: Record<string, string>;
}

export default function HelpPage() {
  const server = useQuery({ queryKey: ['server'], queryFn: ({ signal }) => getJson<Server>('api/server', {}, signal) });
  return (
    <div className="page">
      <h1>Help</h1>
      <h2>Keys</h2>
      <div className="keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <span>{what}</span>
            <kbd>{key}</kbd>
          </div>
        ))}
      </div>
      <h2>With the mouse</h2>
      <p className="muted">
        The wheel zooms, dragging pans, Ctrl and dragging zooms into a rectangle, a double click shows all again. Alt or
        Shift with the wheel zooms along one axis.
      </p>
      <h2>Expressions</h2>
      <p className="muted">
        <code>bright = sqrt(this) * 2</code> in the palette makes a dataset in your @personal that is computed when it
        is read; with <code>:=</code> it is computed once and stored. <code>this</code> is the open dataset; others are
        named as in the tree, with <code>_</code> for what cannot be part of a name.
      </p>
      <h2>About</h2>
      <p className="muted">
        {server.data ? `${server.data.name} ${server.data.version}` : 'Caterva2'} · <a href="docs">REST interface</a> ·{' '}
        <a href="THIRD_PARTY.txt">Licences of what this page is built from</a>
      </p>
      {server.data && (
        <p className="muted mono">
          {Object.entries(server.data.packages)
            .map(([name, version]) => `${name} ${version}`)
            .join(' · ')}
        </p>
      )}
    </div>
  );
}
