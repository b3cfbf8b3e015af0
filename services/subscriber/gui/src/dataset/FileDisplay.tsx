import { Download, ExternalLink, FileQuestion } from 'lucide-react';
import { useEffect, useState } from 'react';
import { quote, url } from '../api/http';
import { useSession } from '../api/queries';
import { isDark, useSettings } from '../state/settings';
import * as format from '../ui/format';
import { Problem } from '../ui/Problem';
import type { Opened } from './DatasetPage';
import { request } from '../api/http';

const IMAGE = /\.(png|jpe?g|gif|webp|bmp|tiff?|svg)$/i;
const FRAMED =
  /\.(md|markdown|ipynb|json|csv|tsv|txt|log|rst|py|toml|ya?ml|ini|cfg|sh|c|h|cpp|js|ts|css|html?|xml|r|jl|f90)$/i;
const PDF = /\.pdf$/i;
const NAMES_OF_TEXT = /(^|\/)(README|LICENSE|COPYING|NOTICE|AUTHORS|CHANGELOG|Makefile|Dockerfile)$/;

/** A file that is no array: rendered by the server, shown in a frame that can run nothing. */
export function FileDisplay({ opened }: { opened: Opened }) {
  const { path, info, version } = opened;
  const nbytes = info.nbytes ?? info.schunk?.nbytes ?? info.size ?? 0;
  if (nbytes === 0) return <p className="center-page muted">This file is empty.</p>;
  if (IMAGE.test(path)) return <ImageDisplay path={path} version={version} nbytes={nbytes} />;
  if (FRAMED.test(path) || NAMES_OF_TEXT.test(path) || PDF.test(path))
    return <Framed opened={opened} nbytes={nbytes} />;
  return <NoPreview path={path} nbytes={nbytes} />;
}

function NoPreview({ path, nbytes }: { path: string; nbytes: number }) {
  const suffix = /\.[^./]+$/.exec(path)?.[0];
  return (
    <div className="center-page">
      <FileQuestion aria-hidden />
      <h1>No preview for {suffix ?? 'this file'}</h1>
      <p className="muted num">{format.bytes(nbytes)}</p>
      <a className="btn primary" href={url(`api/download/${quote(path)}`)} download>
        <Download aria-hidden /> Download
      </a>
    </div>
  );
}

/** Where the site's JupyterLite opens a notebook; it reads it as whoever is signed in here. */
function runAddress(jupyterlite: string, path: string): string {
  const target = new URL(jupyterlite, document.baseURI);
  target.searchParams.set('fromURL', url(`api/download/${quote(path)}`));
  return target.toString();
}

function Framed({ opened: { path, version }, nbytes }: { opened: Opened; nbytes: number }) {
  const { theme } = useSettings();
  const jupyterlite = useSession().data?.jupyterlite;
  const [error, setError] = useState<Error | null>(null);
  const source = url(`api/preview/${quote(path)}`, {
    v: version || undefined,
    theme: isDark(theme) ? 'dark' : 'light',
  });
  const pdf = PDF.test(path);
  useEffect(() => {
    const abort = new AbortController();
    setError(null);
    // A frame cannot tell an error from a page; ask first, and let the browser's cache serve the frame.
    request(source, { signal: abort.signal }).catch((problem: Error) => {
      if (!abort.signal.aborted) setError(problem);
    });
    return () => abort.abort();
  }, [source]);
  if (error) return <Problem error={error} />;
  return (
    <>
      {path.endsWith('.ipynb') && (
        <div className="file-bar">
          {jupyterlite ? (
            <>
              <span className="muted grow">Read-only.</span>
              <a className="btn small" href={runAddress(jupyterlite, path)} target="_blank" rel="noreferrer">
                <ExternalLink aria-hidden /> Open in JupyterLite
              </a>
            </>
          ) : (
            <span className="muted grow">Read-only. Download the notebook to run it.</span>
          )}
          <span className="muted num">{format.bytes(nbytes)}</span>
        </div>
      )}
      {/* Browsers show no PDF in a frame with `sandbox`; their viewers run what a PDF holds in a process of its own, and
          the server sends nothing under this address but PDF, with a policy that allows nothing. */}
      <iframe className="file-frame" title={`Content of ${path}`} src={source} sandbox={pdf ? undefined : ''} />
    </>
  );
}

const SHOWN_WIDTH = 1024;

function ImageDisplay({ path, version, nbytes }: { path: string; version: string; nbytes: number }) {
  const [full, setFull] = useState(false);
  const [size, setSize] = useState('');
  const [failed, setFailed] = useState(false);
  const source = url(`api/preview/${quote(path)}`, { v: version || undefined, width: full ? undefined : SHOWN_WIDTH });
  if (failed) return <NoPreview path={path} nbytes={nbytes} />;
  return (
    <>
      <div className="file-bar">
        <span className="muted num grow">
          {size} {format.bytes(nbytes)}
        </span>
        <button type="button" className="btn small" aria-pressed={full} onClick={() => setFull(!full)}>
          Original size
        </button>
      </div>
      <div className="file-image" tabIndex={0} role="group" aria-label="Image">
        <img
          src={source}
          alt={format.baseName(path)}
          style={full ? { maxWidth: 'none' } : undefined}
          onLoad={(event) => {
            const { naturalWidth, naturalHeight } = event.currentTarget;
            if (full) setSize(`${naturalWidth} × ${naturalHeight} ·`);
          }}
          onError={() => setFailed(true)}
        />
      </div>
    </>
  );
}
