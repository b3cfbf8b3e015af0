import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Copy, Trash2 } from 'lucide-react';
import { useState, type FormEvent } from 'react';
import { getJson, send } from '../api/http';
import { useSession } from '../api/queries';
import { navigate } from '../state/location';
import { notify } from '../state/notices';
import { change, useSettings, type Settings } from '../state/settings';
import { copy } from '../ui/copy';
import { Dialog } from '../ui/Dialog';
import * as format from '../ui/format';
import { Link } from '../ui/Link';
import { Password } from './LoginPage';

const MAPS = ['Viridis', 'Inferno', 'Magma', 'Plasma', 'Cividis', 'Greys', 'Turbo'];

/** Password, sessions, API tokens, and how the GUI looks in this browser. */
export default function AccountPage() {
  const session = useSession().data;
  return (
    <div className="page">
      <h1>Account</h1>
      {session?.email ? (
        <>
          <p className="lead">{session.email}</p>
          {session.groups.length > 0 && <p className="muted">Groups: {session.groups.join(', ')}</p>}
          <Tokens />
          <PasswordPanel />
          {session.oidc !== null && <Provider name={session.oidc} />}
        </>
      ) : (
        session?.login && (
          <p className="lead">
            <Link href="login?next=account">Sign in</Link> to see your tokens and to change your password.
          </p>
        )
      )}
      <Preferences />
    </div>
  );
}

interface Token {
  id: string;
  name: string;
  scopes: string[];
  created_at: number;
  expires_at: number;
  used_at: number | null;
}

function Tokens() {
  const client = useQueryClient();
  const tokens = useQuery({
    queryKey: ['tokens'],
    queryFn: ({ signal }) => getJson<Token[]>('api/tokens', {}, signal),
  });
  const [made, setMade] = useState('');
  const revoke = useMutation({
    mutationFn: (id: string) => send('DELETE', `api/tokens/${encodeURIComponent(id)}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ['tokens'] }),
    onError: (error) => notify(error.message, 'bad'),
  });
  const create = useMutation({
    mutationFn: (body: object) => send<{ token: string }>('POST', 'api/tokens', body),
    onSuccess: ({ token }) => {
      setMade(token);
      void client.invalidateQueries({ queryKey: ['tokens'] });
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const scopes = form.get('write') ? ['read', 'write'] : ['read'];
    create.mutate({ name: form.get('name'), scopes, days: Number(form.get('days')) });
    event.currentTarget.reset();
  };
  return (
    <>
      <h2>API tokens</h2>
      <p className="muted">
        For scripts and the command line, instead of the password: <code>Authorization: Bearer TOKEN</code>
      </p>
      {made && (
        <div className="card panel" role="status">
          <p>This token is shown once. Keep it like a password.</p>
          <code className="secret">{made}</code>
          <button type="button" className="btn small" onClick={() => void copy(made, 'Token')}>
            <Copy aria-hidden /> Copy
          </button>
        </div>
      )}
      {tokens.data && tokens.data.length > 0 && (
        <div className="card scroll-x" style={{ marginTop: 12 }}>
          <table className="plain">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">May</th>
                <th scope="col">Last used</th>
                <th scope="col">Valid until</th>
                <th scope="col">
                  <span className="visually-hidden">Revoke</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {tokens.data.map((token) => (
                <tr key={token.id}>
                  <td>{token.name}</td>
                  <td>{token.scopes.join(', ')}</td>
                  <td className="num">{token.used_at ? format.ago(token.used_at) : 'never'}</td>
                  <td className="num">{format.time(token.expires_at)}</td>
                  <td>
                    <button
                      type="button"
                      className="btn small icon"
                      aria-label={`Revoke ${token.name}`}
                      onClick={() => revoke.mutate(token.id)}
                    >
                      <Trash2 aria-hidden />
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <form className="row card panel" style={{ marginTop: 12, alignItems: 'end' }} onSubmit={submit}>
        <label className="field grow">
          New token for
          <input className="input" name="name" placeholder="nightly upload" maxLength={100} required />
        </label>
        <label className="field">
          Days
          <input
            className="input"
            name="days"
            type="number"
            min={1}
            max={366}
            defaultValue={90}
            style={{ width: 90 }}
          />
        </label>
        <label className="row" style={{ minHeight: 34 }}>
          <input type="checkbox" name="write" /> may also write
        </label>
        <button className="btn primary" disabled={create.isPending}>
          Create
        </button>
      </form>
      {create.error && (
        <p className="notice bad" role="alert">
          {create.error.message}
        </p>
      )}
    </>
  );
}

function PasswordPanel() {
  const client = useQueryClient();
  const after = async () => {
    await client.invalidateQueries();
    navigate('login?next=account');
  };
  const save = useMutation({
    mutationFn: (body: object) => send('POST', 'auth/change-password', body),
    onSuccess: async () => {
      notify('The password is changed; sign in with the new one.', 'good');
      await after();
    },
  });
  const everywhere = useMutation({
    mutationFn: () => send('POST', 'auth/logout-everywhere'),
    onSuccess: async () => {
      notify('All sessions are over.', 'good');
      await after();
    },
    onError: (error) => notify(error.message, 'bad'),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    save.mutate({ old_password: form.get('old'), new_password: form.get('new') });
  };
  return (
    <>
      <h2>Password and sessions</h2>
      <form className="card panel stack" style={{ maxWidth: 460, marginLeft: 0 }} onSubmit={submit}>
        <Password name="old" label="Present password" autoComplete="current-password" />
        <Password name="new" label="New password" autoComplete="new-password" isNew />
        {save.error && (
          <p className="notice bad" role="alert">
            {save.error.message}
          </p>
        )}
        <div className="row">
          <button className="btn primary" disabled={save.isPending}>
            Change password
          </button>
          <button type="button" className="btn" onClick={() => everywhere.mutate()}>
            Sign out everywhere
          </button>
        </div>
      </form>
    </>
  );
}

interface Identity {
  id: string;
  issuer: string;
  subject: string;
  current: boolean;
}

/** Identities at the site's OpenID provider by which the person signs in. */
function Provider({ name }: { name: string }) {
  const identities = useQuery({
    queryKey: ['identities'],
    queryFn: ({ signal }) => getJson<Identity[]>('api/identities', {}, signal),
  });
  const [leaving, setLeaving] = useState<Identity | null>(null);
  const link = useMutation({
    mutationFn: () => send<{ url: string }>('POST', 'auth/oidc/link', { next: 'account' }),
    onSuccess: ({ url }) => window.location.assign(url),
    onError: (error) => notify(error.message, 'bad'),
  });
  return (
    <>
      <h2>{name}</h2>
      <div className="card panel stack" style={{ maxWidth: 460, marginLeft: 0 }}>
        {identities.data?.map((identity) => (
          <div key={identity.id} className="row" style={{ flexWrap: 'nowrap' }}>
            <span className="grow" style={{ overflowWrap: 'anywhere', minWidth: 0 }}>
              <span className="mono">{identity.subject}</span>{' '}
              <span className="muted">{identity.current ? '' : `at ${identity.issuer}, not used any more`}</span>
            </span>
            <button
              type="button"
              className="btn small"
              aria-label={`Unlink ${identity.subject}…`}
              onClick={() => setLeaving(identity)}
            >
              Unlink…
            </button>
          </div>
        ))}
        {identities.error && (
          <p className="notice bad" role="alert">
            {identities.error.message}
          </p>
        )}
        {identities.data?.length === 0 && (
          <p className="muted">Sign in with {name} instead of the password, from then on.</p>
        )}
        <div>
          <button type="button" className="btn" disabled={link.isPending} onClick={() => link.mutate()}>
            {identities.data?.length ? 'Link another identity' : 'Link this account'}
          </button>
        </div>
      </div>
      {leaving && <UnlinkDialog name={name} identity={leaving} onClose={() => setLeaving(null)} />}
    </>
  );
}

interface UnlinkProps {
  name: string;
  identity: Identity;
  onClose: () => void;
}

function UnlinkDialog({ name, identity, onClose }: UnlinkProps) {
  const client = useQueryClient();
  const unlink = useMutation({
    mutationFn: () => send('DELETE', `api/identities/${encodeURIComponent(identity.id)}`),
    onSuccess: async () => {
      notify('The identity is unlinked; sign in again.', 'good');
      await client.invalidateQueries();
      navigate('login?next=account');
    },
  });
  return (
    <Dialog title={`Unlink ${identity.subject}?`} onClose={onClose}>
      <div className="stack">
        <p className="muted">
          From then on {name} does not sign you in with this identity. All your sessions end, this one too.
        </p>
        {unlink.error && (
          <p className="notice bad" role="alert">
            {unlink.error.message}
          </p>
        )}
        <div className="row">
          <button type="button" className="btn danger" disabled={unlink.isPending} onClick={() => unlink.mutate()}>
            Unlink
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Keep it
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function Preferences() {
  const { theme, colorMap, shortcuts } = useSettings();
  return (
    <>
      <h2>In this browser</h2>
      <div className="card panel stack" style={{ maxWidth: 460, marginLeft: 0 }}>
        <label className="field">
          Theme
          <select
            className="input"
            value={theme}
            onChange={(event) => change({ theme: event.target.value as Settings['theme'] })}
          >
            <option value="system">as the system</option>
            <option value="light">light</option>
            <option value="dark">dark</option>
          </select>
        </label>
        <label className="field">
          Colour map of pictures
          <select className="input" value={colorMap} onChange={(event) => change({ colorMap: event.target.value })}>
            {MAPS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label className="row">
          <input
            type="checkbox"
            checked={shortcuts}
            onChange={(event) => change({ shortcuts: event.target.checked })}
          />{' '}
          Single keys are shortcuts
        </label>
      </div>
    </>
  );
}
