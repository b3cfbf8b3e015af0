import { useMutation, useQuery, useQueryClient, type UseQueryResult } from '@tanstack/react-query';
import { useState, type FormEvent, type ReactNode } from 'react';
import { ApiError, getJson, quote, request, send, url } from '../api/http';
import { useSession } from '../api/queries';
import { notify } from '../state/notices';
import { Dialog } from '../ui/Dialog';
import * as format from '../ui/format';
import { Problem } from '../ui/Problem';

interface User {
  id: string;
  email: string;
  is_active: boolean;
  is_superuser: boolean;
  used_bytes: number;
  /** Null for no limit of the user's own. */
  quota_bytes: number | null;
}

interface Group {
  name: string;
  description: string;
  members: string[];
}

interface RootRights {
  root: string;
  read: string[];
  write: string[];
  read_is_default: boolean;
  write_is_default: boolean;
}

interface AuditEntry {
  id: number;
  at: number;
  action: string;
  actor: string;
  target: string;
  result: string;
  detail: string;
}

interface Readiness {
  status: string;
  parts?: Record<string, { ok: boolean; detail?: string }>;
}

/** Users, groups, rights, and how the service does. */
export default function AdminPage() {
  const session = useSession();
  if (session.isPending) return <div className="skeleton grow" style={{ margin: 24 }} />;
  if (!session.data?.superuser) {
    const status = session.data?.email ? 403 : 401;
    return <Problem error={new ApiError(status, 'Only administrators see this page.')} />;
  }
  return (
    <div className="page">
      <h1>Administration</h1>
      <Health />
      <Users own={session.data.email ?? ''} />
      <Groups />
      <RightsTable />
      <Audit />
    </div>
  );
}

/** A change whose failure is told, and after which lists are read again. */
function useChange<T>(run: (value: T) => Promise<unknown>, keys: string[]) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: () => Promise.all(keys.map((key) => client.invalidateQueries({ queryKey: [key] }))),
    onError: (error) => notify(error.message, 'bad'),
  });
}

function Loaded<T>({ query, children }: { query: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (query.error) {
    return (
      <p className="notice bad" role="alert">
        {query.error.message}
      </p>
    );
  }
  return query.data === undefined ? <div className="skeleton" style={{ height: 60 }} /> : <>{children(query.data)}</>;
}

function Health() {
  const query = useQuery({
    queryKey: ['ready'],
    queryFn: async ({ signal }) => (await (await request(url('readyz'), { signal })).json()) as Readiness,
    refetchInterval: 10_000,
  });
  return (
    <>
      <h2>Service</h2>
      <Loaded query={query}>
        {({ status, parts }) => (
          <div className="row">
            <span className={`chip ${status === 'ready' ? 'good' : 'warn'}`}>{status}</span>
            {Object.entries(parts ?? {}).map(([name, part]) => (
              <span key={name} className={`chip ${part.ok ? 'good' : 'bad'}`} title={part.detail}>
                {name}
                {part.detail ? `: ${part.detail}` : ''}
              </span>
            ))}
          </div>
        )}
      </Loaded>
    </>
  );
}

function Users({ own }: { own: string }) {
  const users = useQuery({
    queryKey: ['users'],
    queryFn: ({ signal }) => getJson<User[]>('api/listusers/', {}, signal),
  });
  const [deleted, setDeleted] = useState('');
  const [limited, setLimited] = useState<User | null>(null);
  const [added, setAdded] = useState('');
  const edit = useChange(
    ({ email, ...part }: Partial<User> & { email: string }) => send('PATCH', `api/users/${quote(email)}`, part),
    ['users'],
  );
  const add = useChange(async (body: object) => setAdded(await send<string>('POST', 'api/adduser/', body)), ['users']);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const password = String(form.get('password'));
    add.mutate({ username: form.get('email'), password: password || null, superuser: form.get('superuser') === 'on' });
    event.currentTarget.reset();
  };
  return (
    <>
      <h2>Users</h2>
      <Loaded query={users}>
        {(list) => (
          <div className="card scroll-x">
            <table className="plain">
              <thead>
                <tr>
                  <th scope="col">E-mail</th>
                  <th scope="col">Active</th>
                  <th scope="col">Administrator</th>
                  <th scope="col">Files</th>
                  <th scope="col">
                    <span className="visually-hidden">Change</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {list.map((user) => (
                  <tr key={user.id}>
                    <td>{user.email}</td>
                    {(['is_active', 'is_superuser'] as const).map((flag) => (
                      <td key={flag}>
                        <input
                          type="checkbox"
                          aria-label={`${user.email} ${flag === 'is_active' ? 'active' : 'administrator'}`}
                          checked={user[flag]}
                          disabled={user.email === own}
                          onChange={() => edit.mutate({ email: user.email, [flag]: !user[flag] })}
                        />
                      </td>
                    ))}
                    <td className="num">{filesText(user)}</td>
                    <td className="row-actions">
                      <button
                        type="button"
                        className="btn small"
                        aria-label={`Quota of ${user.email}…`}
                        onClick={() => setLimited(user)}
                      >
                        Quota…
                      </button>{' '}
                      {user.email !== own && (
                        <button type="button" className="btn small" onClick={() => setDeleted(user.email)}>
                          Delete…
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
      <form className="row card panel" style={{ marginTop: 12, alignItems: 'end' }} onSubmit={submit}>
        <label className="field grow">
          New user
          <input className="input" name="email" type="email" placeholder="ada@example.org" required />
        </label>
        <label className="field">
          Password (empty: one is made)
          <input className="input" name="password" type="password" autoComplete="new-password" />
        </label>
        <label className="row" style={{ minHeight: 34 }}>
          <input type="checkbox" name="superuser" /> administrator
        </label>
        <button className="btn primary" disabled={add.isPending}>
          Add
        </button>
      </form>
      {added && (
        <p className="notice good" role="status">
          {added}
        </p>
      )}
      {limited && <QuotaDialog user={limited} onClose={() => setLimited(null)} />}
      {deleted && <DeleteUser email={deleted} onClose={() => setDeleted('')} />}
    </>
  );
}

function filesText({ used_bytes: used, quota_bytes: quota }: User): string {
  return quota === null ? format.bytes(used) : `${format.bytes(used)} of ${format.bytes(quota)}`;
}

function QuotaDialog({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const [text, setText] = useState(user.quota_bytes === null ? '' : String(user.quota_bytes));
  const save = useMutation({
    mutationFn: () => send('PATCH', `api/users/${quote(user.email)}`, { quota: text.trim() || null }),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries({ queryKey: ['users'] });
      await client.invalidateQueries({ queryKey: ['session'] });
    },
  });
  return (
    <Dialog title={`Quota of ${user.email}`} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <label className="field">
          Bytes that files in @personal may take
          <input className="input mono" value={text} onChange={(event) => setText(event.target.value)} autoFocus />
          <span className="hint">500M or 10G; empty for no limit. {format.bytes(user.used_bytes)} are taken now.</span>
        </label>
        {save.error && (
          <p className="notice bad" role="alert">
            {save.error.message}
          </p>
        )}
        <div className="row">
          <button className="btn primary" disabled={save.isPending}>
            Save
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function DeleteUser({ email, onClose }: { email: string; onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const remove = useChange(async () => {
    await send('DELETE', `api/users/${quote(email)}`);
    notify(`Deleted ${email}`, 'good');
    onClose();
  }, ['users', 'groups']);
  return (
    <Dialog title={`Delete ${email}?`} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          remove.mutate(undefined);
        }}
      >
        <p className="muted">
          The account and all files in its @personal are gone for good. Type the address to be sure.
        </p>
        <input
          className="input"
          aria-label={`Type ${email}`}
          value={typed}
          onChange={(e) => setTyped(e.target.value)}
          autoFocus
        />
        <div className="row">
          <button className="btn danger" disabled={typed !== email || remove.isPending}>
            Delete
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Keep it
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Groups() {
  const groups = useQuery({
    queryKey: ['groups'],
    queryFn: ({ signal }) => getJson<Group[]>('api/groups', {}, signal),
  });
  const add = useChange((body: object) => send('POST', 'api/groups', body), ['groups']);
  const remove = useChange((name: string) => send('DELETE', `api/groups/${quote(name)}`), ['groups', 'rights']);
  const join = useChange(
    ({ group, email, method }: { group: string; email: string; method: 'PUT' | 'DELETE' }) =>
      send(method, `api/groups/${quote(group)}/members/${quote(email)}`),
    ['groups'],
  );
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    add.mutate({ name: form.get('name'), description: form.get('description') });
    event.currentTarget.reset();
  };
  return (
    <>
      <h2>Groups</h2>
      <Loaded query={groups}>
        {(list) =>
          list.map((group) => (
            <section key={group.name} className="card panel" aria-label={`Group ${group.name}`}>
              <div className="row">
                <b>{group.name}</b>
                <span className="muted grow">{group.description}</span>
                <button
                  type="button"
                  className="btn small"
                  onClick={() => window.confirm(`Remove the group ${group.name}?`) && remove.mutate(group.name)}
                >
                  Remove
                </button>
              </div>
              <div className="row" style={{ marginTop: 8 }}>
                {group.members.map((email) => (
                  <button
                    key={email}
                    type="button"
                    className="chip"
                    aria-label={`Take ${email} out of ${group.name}`}
                    title="Click to take out of the group"
                    onClick={() => join.mutate({ group: group.name, email, method: 'DELETE' })}
                  >
                    {email} ×
                  </button>
                ))}
                <form
                  className="row"
                  onSubmit={(event) => {
                    event.preventDefault();
                    const email = String(new FormData(event.currentTarget).get('email'));
                    join.mutate({ group: group.name, email, method: 'PUT' });
                    event.currentTarget.reset();
                  }}
                >
                  <input
                    className="input"
                    style={{ width: 220 }}
                    name="email"
                    type="email"
                    placeholder="Add by e-mail"
                    aria-label={`Add to ${group.name}`}
                    required
                  />
                  <button className="btn small">Add</button>
                </form>
              </div>
            </section>
          ))
        }
      </Loaded>
      <form className="row card panel" style={{ alignItems: 'end', marginTop: 14 }} onSubmit={submit}>
        <label className="field">
          New group
          <input className="input" name="name" pattern="[a-z0-9][a-z0-9_\-]{0,62}" title="a-z, 0-9, _ and -" required />
        </label>
        <label className="field grow">
          Description
          <input className="input" name="description" maxLength={500} />
        </label>
        <button className="btn primary">Add</button>
      </form>
    </>
  );
}

function RightsTable() {
  const rights = useQuery({
    queryKey: ['rights'],
    queryFn: ({ signal }) => getJson<RootRights[]>('api/rights', {}, signal),
  });
  const [edited, setEdited] = useState<RootRights | null>(null);
  return (
    <>
      <h2>Rights</h2>
      <Loaded query={rights}>
        {(list) => (
          <div className="card scroll-x">
            <table className="plain">
              <thead>
                <tr>
                  <th scope="col">Root</th>
                  <th scope="col">May read</th>
                  <th scope="col">May write</th>
                  <th scope="col">
                    <span className="visually-hidden">Change</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {list.map((each) => (
                  <tr key={each.root}>
                    <th scope="row" style={{ color: 'inherit' }}>
                      {each.root}
                    </th>
                    <td>
                      {each.read.join(', ')} {each.read_is_default && <span className="muted">(default)</span>}
                    </td>
                    <td>
                      {each.write.join(', ')} {each.write_is_default && <span className="muted">(default)</span>}
                    </td>
                    <td style={{ textAlign: 'right' }}>
                      <button type="button" className="btn small" onClick={() => setEdited(each)}>
                        Change…
                      </button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
      {edited && <RightsDialog rights={edited} onClose={() => setEdited(null)} />}
    </>
  );
}

function RightsDialog({ rights, onClose }: { rights: RootRights; onClose: () => void }) {
  const client = useQueryClient();
  const [read, setRead] = useState(rights.read_is_default ? '' : rights.read.join(' '));
  const [write, setWrite] = useState(rights.write_is_default ? '' : rights.write.join(' '));
  const writable = rights.root.startsWith('@');
  const grantees = (text: string) => (text.trim() ? text.trim().split(/[\s,]+/) : null);
  const save = useMutation({
    mutationFn: () =>
      send('PUT', `api/rights/${quote(rights.root)}`, {
        read: grantees(read),
        ...(writable ? { write: grantees(write) } : {}),
      }),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries();
    },
  });
  return (
    <Dialog title={`Rights of ${rights.root}`} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        <label className="field">
          May read
          <input className="input mono" value={read} onChange={(event) => setRead(event.target.value)} autoFocus />
          <span className="hint">
            public, users, nobody, group:NAME, user:EMAIL; several with spaces; empty for the default.
          </span>
        </label>
        {writable && (
          <label className="field">
            May write
            <input className="input mono" value={write} onChange={(event) => setWrite(event.target.value)} />
          </label>
        )}
        {save.error && (
          <p className="notice bad" role="alert">
            {save.error.message}
          </p>
        )}
        <div className="row">
          <button className="btn primary" disabled={save.isPending}>
            Save
          </button>
          <button type="button" className="btn" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Audit() {
  const trail = useQuery({
    queryKey: ['audit'],
    queryFn: ({ signal }) => getJson<AuditEntry[]>('api/audit', { limit: 50 }, signal),
  });
  return (
    <>
      <h2>Recent actions</h2>
      <Loaded query={trail}>
        {(entries) => (
          <div className="card scroll-x">
            <table className="plain">
              <thead>
                <tr>
                  {['When', 'Who', 'What', 'Of what', 'Result'].map((title) => (
                    <th key={title} scope="col">
                      {title}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {entries.map((entry) => (
                  <tr key={entry.id}>
                    <td className="num">{format.time(entry.at)}</td>
                    <td>{entry.actor}</td>
                    <td>{entry.action}</td>
                    <td>
                      {entry.target} <span className="muted">{entry.detail}</span>
                    </td>
                    <td>{entry.result}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
    </>
  );
}
