import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { quote, send } from '../api/http';
import { useCacheMap, useSession } from '../api/queries';
import type { CacheMap } from '../api/types';
import { notify } from '../state/notices';
import * as format from '../ui/format';
import { Problem } from '../ui/Problem';
import type { Opened } from './DatasetPage';

/** Which chunks are at this server, and which only at the publisher. */
export function ChunksTab({ opened }: { opened: Opened }) {
  const { path, version, info } = opened;
  const map = useCacheMap(path, version);
  const superuser = useSession().data?.superuser ?? false;
  const client = useQueryClient();
  const [busy, setBusy] = useState('');
  const stop = useRef(false);
  if (info.expression !== undefined) {
    return (
      <p className="center-page muted">A computed dataset has no chunks: its values are made when they are read.</p>
    );
  }
  if (map.error) return <Problem error={map.error} onRetry={() => void map.refetch()} />;
  if (!map.data) return <div className="skeleton grow" style={{ margin: 24 }} />;
  const { data } = map;
  const act = async (what: 'prefetch' | 'free') => {
    setBusy(what);
    stop.current = false;
    try {
      await send('POST', `api/cache/${what}/${quote(path)}`);
      for (let known = -1; what === 'prefetch' && !stop.current;) {
        const { data: now } = await map.refetch();
        if (!now || now.local >= now.nchunks || now.local === known) break;
        known = now.local;
        await new Promise((resolve) => window.setTimeout(resolve, 700));
      }
      await client.invalidateQueries({ queryKey: ['cache', path] });
    } catch (error) {
      notify((error as Error).message, 'bad');
    } finally {
      setBusy('');
    }
  };
  return (
    <div className="pad grow" tabIndex={0} role="group" aria-label="Chunks">
      <progress
        className="meter"
        aria-label="Chunks at this server"
        value={data.local}
        max={Math.max(data.nchunks, 1)}
      />
      <p style={{ margin: '10px 0' }}>
        <b className="num">{format.count(data.local)}</b> of <span className="num">{format.count(data.nchunks)}</span>{' '}
        chunks are at this server{data.local_bytes ? ` (${format.bytes(data.local_bytes)})` : ''}.{' '}
        {data.remote && data.local < data.nchunks && 'The rest is fetched from the publisher when a slice needs it.'}
      </p>
      <div className="row">
        {superuser && data.remote && (
          <>
            <button
              type="button"
              className="btn"
              disabled={busy !== '' || data.local === data.nchunks}
              onClick={() => void act('prefetch')}
            >
              {busy === 'prefetch' ? 'Fetching…' : 'Fetch all chunks'}
            </button>
            {busy === 'prefetch' && (
              <button type="button" className="btn" onClick={() => (stop.current = true)}>
                Stop waiting
              </button>
            )}
            <button
              type="button"
              className="btn"
              disabled={busy !== '' || data.local === 0}
              onClick={() => void act('free')}
            >
              Free local copies
            </button>
          </>
        )}
        <span className="chip">
          <i className="swatch" style={{ background: 'var(--accent)', margin: 0 }} /> here
        </span>
        {data.remote && (
          <span className="chip">
            <i className="swatch" style={{ background: 'var(--line)', margin: 0 }} /> at the publisher
          </span>
        )}
      </div>
      <ChunkPicture map={data} />
    </div>
  );
}

const MAX_SIDE = 900;

function bitsOf(map: CacheMap): Uint8Array {
  const text = atob(map.bitmap);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function ChunkPicture({ map }: { map: CacheMap }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const columns = columnsOf(map);
  const rows = Math.ceil(map.nchunks / Math.max(columns, 1));
  const side = Math.max(2, Math.min(18, Math.floor(MAX_SIDE / Math.max(columns, 1))));

  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!context || !canvas.current) return;
    const style = getComputedStyle(document.documentElement);
    const colours = [style.getPropertyValue('--line'), style.getPropertyValue('--accent')];
    const bits = bitsOf(map);
    const gap = side > 5 ? 1 : 0;
    context.clearRect(0, 0, canvas.current.width, canvas.current.height);
    for (let n = 0; n < map.nchunks; n++) {
      const local = ((bits[n >> 3] ?? 0) >> (7 - (n & 7))) & 1;
      context.fillStyle = colours[local] as string;
      context.fillRect((n % columns) * side, Math.floor(n / columns) * side, side - gap, side - gap);
    }
  }, [map, columns, side]);

  return (
    <>
      <canvas
        ref={canvas}
        className="chunk-canvas"
        role="img"
        aria-label={`${map.local} of ${map.nchunks} chunks at this server`}
        width={Math.max(columns * side, 1)}
        height={Math.min(rows * side, 30_000)}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          const scale = event.currentTarget.width / box.width;
          const column = Math.floor(((event.clientX - box.left) * scale) / side);
          const n = Math.floor(((event.clientY - box.top) * scale) / side) * columns + column;
          setHovered(column < columns && n < map.nchunks ? n : null);
        }}
        onPointerLeave={() => setHovered(null)}
      />
      <p className="mono muted" style={{ minHeight: 20 }}>
        {hovered !== null && `chunk ${hovered}: [${spanOf(map, hovered)}]`}
      </p>
    </>
  );
}

const NARROW = 12;
const WIDE = 200;

/** The last axes of the grid side by side, so that a picture of chunks looks like the picture of the data. */
function columnsOf({ grid, nchunks }: CacheMap): number {
  let columns = 1;
  for (let axis = grid.length - 1; axis >= 0 && columns < NARROW; axis--) columns *= grid[axis] ?? 1;
  return columns <= WIDE ? Math.max(columns, 1) : Math.min(nchunks, 64);
}

function spanOf({ grid, chunks, shape }: CacheMap, n: number): string {
  const spans: string[] = [];
  let rest = n;
  for (let axis = grid.length - 1; axis >= 0; axis--) {
    const at = rest % (grid[axis] ?? 1);
    rest = Math.floor(rest / (grid[axis] ?? 1));
    const from = at * (chunks[axis] ?? 1);
    spans.unshift(`${from}:${Math.min(from + (chunks[axis] ?? 1), shape[axis] ?? 0)}`);
  }
  return spans.join(', ');
}
