import { lazy, Suspense, useEffect, useState } from 'react';
import { DatasetPage } from './dataset/DatasetPage';
import { FolderPage } from './pages/FolderPage';
import { HomePage } from './pages/HomePage';
import { StatusBar } from './shell/StatusBar';
import { Toasts } from './shell/Toasts';
import { TopBar } from './shell/TopBar';
import { Tree } from './shell/Tree';
import { Uploads } from './shell/Uploads';
import { useShortcuts } from './shell/shortcuts';
import { LiveProvider, useLive } from './state/live';
import { navigate, useLocation } from './state/location';
import { change, settings, useSettings } from './state/settings';
import { ErrorBoundary } from './ui/ErrorBoundary';
import { Problem } from './ui/Problem';
import { ApiError } from './api/http';

const LoginPage = lazy(() => import('./pages/LoginPage'));
const AccountPage = lazy(() => import('./pages/AccountPage'));
const HelpPage = lazy(() => import('./pages/HelpPage'));
const loadPalette = () => import('./shell/Palette');
const Palette = lazy(loadPalette);
const AdminPage = lazy(() => import('./pages/AdminPage'));
const SubscriptionsPage = lazy(() => import('./pages/SubscriptionsPage'));

const FILE = /\.[^./]+$/;

/** What the address opens: a dataset, file or folder path, or the name of a page. */
function openPath(path: string): string {
  return path.startsWith('d/') ? path.slice(2).replace(/\/+$/, '') : '';
}

export function App() {
  const { path } = useLocation();
  const open = openPath(path);
  useOldHash();
  return (
    <LiveProvider open={open}>
      <Frame path={path} open={open} />
    </LiveProvider>
  );
}

function Frame({ path, open }: { path: string; open: string }) {
  const { treeOpen, treeWidth } = useSettings();
  const [drawer, setDrawer] = useState(false);
  const [palette, setPalette] = useState<string | null>(null);
  const { state } = useLive();
  useShortcuts({ onPalette: setPalette, onTree: toggleTree });
  useEffect(() => setDrawer(false), [path]);
  // At hand before somebody types the first key of an expression.
  useEffect(() => void loadPalette(), []);

  function toggleTree() {
    if (window.matchMedia('(max-width: 899px)').matches) setDrawer((shown) => !shown);
    else change({ treeOpen: !settings().treeOpen });
  }

  const classes = ['frame', !treeOpen && 'no-tree', drawer && 'drawer-open'].filter(Boolean).join(' ');
  return (
    <div className={classes} style={{ ['--tree-width' as string]: `${treeWidth}px` }}>
      <a className="btn primary skip" href="#main">
        Skip to content
      </a>
      <TopBar onMenu={toggleTree} onPalette={() => setPalette('')} />
      <Tree open={open} />
      <main id="main" className="main" tabIndex={-1} onClickCapture={() => drawer && setDrawer(false)}>
        {state === 'off' && (
          <div className="banner" role="status">
            Reconnecting… data on screen may be old.
          </div>
        )}
        <ErrorBoundary resetKey={path}>
          <Suspense fallback={<div className="skeleton grow" style={{ margin: 24 }} />}>
            <Page path={path} open={open} onPalette={() => setPalette('')} />
          </Suspense>
        </ErrorBoundary>
      </main>
      <StatusBar open={open} />
      <Uploads open={open} />
      <Toasts />
      {palette !== null && (
        <Suspense>
          <Palette open={FILE.test(open) ? open : ''} start={palette} onClose={() => setPalette(null)} />
        </Suspense>
      )}
    </div>
  );
}

interface PageProps {
  path: string;
  open: string;
  onPalette: () => void;
}

function Page({ path, open, onPalette }: PageProps) {
  const page = path.split('/')[0];
  useEffect(() => {
    document.title = open ? `${open} · Caterva2` : 'Caterva2';
  }, [open]);
  if (open) return FILE.test(open) ? <DatasetPage key={open} path={open} /> : <FolderPage key={open} path={open} />;
  switch (page) {
    case '':
      return <HomePage onPalette={onPalette} />;
    case 'login':
    case 'register':
    case 'forgot-password':
    case 'reset-password':
      return <LoginPage page={page} token={path.split('/')[1] ?? ''} />;
    case 'account':
      return <AccountPage />;
    case 'admin':
      return <AdminPage />;
    case 'subscriptions':
      return <SubscriptionsPage />;
    case 'help':
      return <HelpPage />;
    default:
      return <Problem error={new ApiError(404, `There is no page “${path}”.`)} />;
  }
}

const OLD_TABS: Record<string, string> = { data: 'table', main: 'metadata' };

/** Links of the original name the tab in the hash: `/roots/PATH#main`. The server led them here. */
function useOldHash(): void {
  useEffect(() => {
    const tab = OLD_TABS[window.location.hash.slice(1)];
    if (!tab) return;
    const { pathname } = window.location;
    const below = pathname.slice(new URL(document.baseURI).pathname.length);
    navigate(`${below}?tab=${tab}`, { replace: true });
  }, []);
}
