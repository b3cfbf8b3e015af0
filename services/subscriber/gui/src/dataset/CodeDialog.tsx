import { Copy } from 'lucide-react';
import { quote, url } from '../api/http';
import { copy } from '../ui/copy';
import { Dialog } from '../ui/Dialog';
import type { Opened } from './DatasetPage';
import { currentSlice } from './selection';

/** The same slice by other means: Python, command line, curl. */
export function CodeDialog({ opened, onClose }: { opened: Opened; onClose: () => void }) {
  const slice = currentSlice(opened);
  const base = document.baseURI.replace(/\/$/, '');
  const { path, info } = opened;
  const index = info.shape ? `[${slice || '...'}]` : '[:]';
  const [root = '', ...rest] = path.split('/');
  const fetchUrl = url(`api/fetch/${quote(path)}`, { slice_: slice || undefined });
  const snippets: [string, string][] = [
    [
      'Python',
      `import caterva2\n\nclient = caterva2.Client("${base}")\ndataset = client.get("${root}")["${rest.join('/')}"]\ndata = dataset${index}`,
    ],
    [
      'Command line',
      `cat2cli --subscriber ${base} show '${path}${slice ? `[${slice}]` : ''}'\ncat2cli --subscriber ${base} download '${path}'`,
    ],
    ['curl', `curl -o slice.b2nd '${fetchUrl}'`],
  ];
  return (
    <Dialog title="The same, in code" onClose={onClose} wide>
      <div className="stack">
        {snippets.map(([title, text]) => (
          <section key={title}>
            <div className="row" style={{ justifyContent: 'space-between', marginBottom: 5 }}>
              <h3 style={{ fontSize: 13 }}>{title}</h3>
              <button type="button" className="btn small" onClick={() => void copy(text, title)}>
                <Copy aria-hidden /> Copy
              </button>
            </div>
            <pre className="code" tabIndex={0}>
              {text}
            </pre>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
