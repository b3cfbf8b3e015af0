import { useQueryClient } from '@tanstack/react-query';
import { LogIn, LogOut, Menu as MenuIcon, Moon, Radio, Search, Settings, Shield, Sun, UserRound } from 'lucide-react';
import { useSession } from '../api/queries';
import { send } from '../api/http';
import { useLive } from '../state/live';
import { navigate } from '../state/location';
import { notify } from '../state/notices';
import { change, isDark, useSettings } from '../state/settings';
import * as format from '../ui/format';
import { Link } from '../ui/Link';
import { Menu } from '../ui/Menu';

interface Props {
  onMenu: () => void;
  onPalette: () => void;
}

export function TopBar({ onMenu, onPalette }: Props) {
  const { theme } = useSettings();
  const dark = isDark(theme);
  return (
    <header className="top">
      <div className="top-left">
        <button type="button" className="btn plain icon" aria-label="Show or hide datasets" onClick={onMenu}>
          <MenuIcon aria-hidden />
        </button>
        <Link className="brand" href="" aria-label="Caterva2, all roots">
          <img src="./favicon.svg" alt="" />
          <span>Caterva2</span>
        </Link>
      </div>
      <button type="button" className="search-box" onClick={onPalette}>
        <Search aria-hidden />
        <span>Search datasets, run a command or an expression</span>
        <kbd>Ctrl K</kbd>
      </button>
      <div className="top-right">
        <LiveDot />
        <button
          type="button"
          className="btn plain icon"
          aria-label={dark ? 'Light theme' : 'Dark theme'}
          onClick={() => change({ theme: dark ? 'light' : 'dark' })}
        >
          {dark ? <Sun aria-hidden /> : <Moon aria-hidden />}
        </button>
        <User />
      </div>
    </header>
  );
}

function LiveDot() {
  const { state, pause } = useLive();
  const words = { on: 'Live', off: 'Offline', paused: 'Paused', connecting: 'Connecting' }[state];
  return (
    <button
      type="button"
      className={`live ${state}`}
      title={state === 'paused' ? 'Updates wait; click to let them in' : 'Click to keep what is on screen as it is'}
      aria-pressed={state === 'paused'}
      aria-label={`Live updates: ${words}`}
      onClick={() => pause(state !== 'paused')}
    >
      <span aria-hidden>{words}</span>
    </button>
  );
}

function User() {
  const session = useSession().data;
  const client = useQueryClient();
  if (!session?.login) return null;
  if (session.email === null) {
    const next = encodeURIComponent(location.pathname + location.search);
    return (
      <Link className="btn" href={`login?next=${next}`}>
        <LogIn aria-hidden /> Sign in
      </Link>
    );
  }
  const signOut = async () => {
    try {
      await send('POST', 'auth/jwt/logout');
      await client.resetQueries();
      notify('Signed out', 'good');
    } catch (error) {
      notify((error as Error).message, 'bad');
    }
  };
  const { space } = session;
  return (
    <Menu
      className="btn plain"
      name={`Account of ${session.email}`}
      label={
        <>
          <span className="avatar" data-letter={session.email[0]?.toUpperCase()} />
          <span className="hide-small">{session.email}</span>
        </>
      }
    >
      <div className="head">
        {session.email}
        {space && <Space {...space} />}
      </div>
      <hr />
      <button type="button" onClick={() => navigate('account')}>
        <UserRound aria-hidden /> Account and tokens
      </button>
      <button type="button" onClick={() => navigate('subscriptions')}>
        <Radio aria-hidden /> Subscriptions
      </button>
      {session.superuser && (
        <button type="button" onClick={() => navigate('admin')}>
          <Shield aria-hidden /> Administration
        </button>
      )}
      <button type="button" onClick={() => navigate('help')}>
        <Settings aria-hidden /> Help and shortcuts
      </button>
      <hr />
      <button type="button" onClick={() => void signOut()}>
        <LogOut aria-hidden /> Sign out
      </button>
    </Menu>
  );
}

const NEARLY_FULL = 0.9;

function Space({ used, quota, whose }: { used: number; quota: number | null; whose: string }) {
  if (quota === null) return <div>{format.bytes(used)} used</div>;
  const whole = Math.max(quota, 1);
  return (
    <>
      <div>
        {format.bytes(used)} of {format.bytes(quota)} used{whose === 'the site' && ' by everybody here'}
      </div>
      <meter
        className="quota"
        aria-label="Space used"
        min={0}
        max={whole}
        high={NEARLY_FULL * whole}
        value={Math.min(used, whole)}
      />
    </>
  );
}
