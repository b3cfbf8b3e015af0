import { useQuery } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { dtypeLabel, infoKind, infoLabel, itemSize, recordFields, type WireField } from '../api/dtype';
import { readView } from '../api/queries';
import { placeOf } from '../state/location';
import { copy } from '../ui/copy';
import * as format from '../ui/format';
import { Link } from '../ui/Link';
import type { Opened } from './DatasetPage';
import { attributes } from './Header';

const CODECS = ['BLOSCLZ', 'LZ4', 'LZ4HC', 'codec 3', 'ZLIB', 'ZSTD'];
const FILTERS = ['NOFILTER', 'SHUFFLE', 'BITSHUFFLE', 'DELTA', 'TRUNC_PREC'];
const MANY = 12;

export function MetadataTab({ opened }: { opened: Opened }) {
  const { info, path, version } = opened;
  const schunk = info.schunk ?? info;
  const itemsize = info.shape && schunk.nbytes ? schunk.nbytes / Math.max(1, size(info.shape)) : 0;
  const extent = (lengths: number[]) =>
    `${format.shape(lengths)} (${format.bytes(Math.round(size(lengths) * itemsize))})`;
  return (
    <div className="pad grow" tabIndex={0} role="group" aria-label="Metadata">
      {info.error && (
        <p className="notice bad" style={{ marginBottom: 14 }}>
          This file cannot be read as a dataset: {info.reason ?? info.error}. It can still be downloaded.
        </p>
      )}
      <div className="facts-grid">
        <Card title="Dataset">
          {info.shape && <Fact name="Shape">{format.shape(info.shape)}</Fact>}
          {info.dtype && <Fact name="Type">{infoLabel(info.dtype)}</Fact>}
          {schunk.nbytes !== undefined && <Fact name="Size in memory">{format.bytes(schunk.nbytes)}</Fact>}
          {schunk.cbytes !== undefined && (
            <Fact name="Size on disk">
              {format.bytes(schunk.cbytes)} {schunk.cratio ? `(${schunk.cratio.toFixed(2)}×)` : ''}
            </Fact>
          )}
          {info.size !== undefined && <Fact name="Size">{format.bytes(info.size)}</Fact>}
          <Fact name="Modified">{format.time(info.mtime)}</Fact>
          <Fact name="Path">
            <Value text={path} />
          </Fact>
          {version && (
            <Fact name="Version">
              <Value text={version} />
            </Fact>
          )}
        </Card>
        <Attributes values={attributes(info)} />
        {(info.expression !== undefined || info.expr !== undefined) && (
          <Card title="Expression">
            <Fact name="Formula">
              <code>{info.expression ?? info.expr}</code>
            </Fact>
            {Object.entries(info.operands ?? info.missing_ops ?? {}).map(([name, operand]) => (
              <Fact key={name} name={name}>
                <Link href={placeOf(operand)}>{operand}</Link>
              </Fact>
            ))}
          </Card>
        )}
        {schunk.nchunks !== undefined && (
          <Card title="Storage">
            {info.chunks && <Fact name="Chunks">{extent(info.chunks)}</Fact>}
            {info.blocks && <Fact name="Blocks">{extent(info.blocks)}</Fact>}
            <Fact name="Number of chunks">{format.count(schunk.nchunks)}</Fact>
            {schunk.cparams && <Coding cparams={schunk.cparams} />}
          </Card>
        )}
        {infoKind(info.dtype ?? '') === 'record' && <Fields opened={opened} />}
      </div>
    </div>
  );
}

function size(lengths: number[]): number {
  return lengths.reduce((product, length) => product * length, 1);
}

function Card({ title, count, children }: { title: string; count?: number; children: ReactNode }) {
  return (
    <section className="card facts-card">
      <h2>
        {title} {count !== undefined && <span className="chip">{count}</span>}
      </h2>
      <dl>{children}</dl>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

const LONG = 300;

function Value({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  if (text.length > LONG && !all) {
    return (
      <>
        {text.slice(0, LONG)}…{' '}
        <button type="button" className="btn small" onClick={() => setAll(true)}>
          Show all {format.count(text.length)} characters
        </button>
      </>
    );
  }
  return (
    <button type="button" className="copy-value" title="Click to copy" onClick={() => void copy(text, 'Value')}>
      {text}
    </button>
  );
}

function Coding({ cparams }: { cparams: Record<string, unknown> }) {
  const filters = (cparams['filters'] as number[] | undefined) ?? [];
  const used = filters.filter((filter) => filter !== 0).map((filter) => FILTERS[filter] ?? `filter ${filter}`);
  const codec = Number(cparams['codec'] ?? 0);
  return (
    <>
      <Fact name="Codec">
        {CODECS[codec] ?? `codec ${codec}`} level {String(cparams['clevel'] ?? '?')}
      </Fact>
      <Fact name="Filters">{used.join(', ') || 'none'}</Fact>
    </>
  );
}

function Attributes({ values }: { values: Record<string, unknown> }) {
  const [words, setWords] = useState('');
  const entries = Object.entries(values);
  const shown = entries.filter(([name, value]) =>
    `${name} ${JSON.stringify(value)}`.toLowerCase().includes(words.toLowerCase()),
  );
  if (entries.length === 0) {
    return (
      <section className="card facts-card">
        <h2>Attributes</h2>
        <p className="muted">This dataset has no attributes.</p>
      </section>
    );
  }
  return (
    <section className="card facts-card">
      <h2>
        Attributes <span className="chip">{entries.length}</span>
      </h2>
      {entries.length > MANY && (
        <input
          className="input quiet"
          type="search"
          placeholder="Filter attributes"
          aria-label="Filter attributes"
          style={{ marginBottom: 8 }}
          value={words}
          onChange={(event) => setWords(event.target.value)}
        />
      )}
      <dl>
        {shown.map(([name, value]) => (
          <Fact key={name} name={name}>
            <Value text={typeof value === 'string' ? value : JSON.stringify(value)} />{' '}
            <small className="muted mono">{typeName(value)}</small>
          </Fact>
        ))}
      </dl>
    </section>
  );
}

function typeName(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return `list of ${value.length}`;
  if (typeof value === 'string') return 'text';
  return typeof value;
}

function Fields({ opened: { path, version } }: { opened: Opened }) {
  // An empty slice costs nothing and tells the exact layout.
  const { data } = useQuery({
    queryKey: ['fields', path, version],
    queryFn: ({ signal }) => readView('slice', path, { s: '0:0', v: version || undefined }, signal),
    staleTime: Infinity,
  });
  const fields = data && typeof data.dtype !== 'string' ? recordFields(data.dtype as WireField[]) : [];
  return (
    <Card title="Fields" count={fields.length}>
      {fields.map((field) => (
        <Fact key={field.name} name={field.name}>
          {dtypeLabel(field.dtype)}
          {field.count > 1 && ` × ${field.count}`}{' '}
          <small className="muted">{format.bytes(itemSize(field.dtype) * field.count)}</small>
        </Fact>
      ))}
    </Card>
  );
}
