import { useQueryClient } from '@tanstack/react-query';
import { Eye, EyeOff } from 'lucide-react';
import { useState, type FormEvent, type ReactNode } from 'react';
import { ApiError, request, send, url } from '../api/http';
import { useSession } from '../api/queries';
import { navigate, useLocation } from '../state/location';
import { notify } from '../state/notices';
import { Link } from '../ui/Link';

type PageName = 'login' | 'register' | 'forgot-password' | 'reset-password';

/** Signing in, making an account, asking for and setting a new password. */
export default function LoginPage({ page, token }: { page: PageName; token: string }) {
  const { search } = useLocation();
  const session = useSession().data;
  const next = safeNext(search.get('next'));
  if (session && !session.login) {
    return (
      <Card title="No accounts here">
        <p className="muted">This server is open to everybody who reaches it; there is nothing to sign in to.</p>
      </Card>
    );
  }
  if (page === 'register') return session?.register === false ? <Closed /> : <Register next={next} />;
  if (page === 'forgot-password') return <Forgot />;
  if (page === 'reset-password') return <Reset token={token} />;
  return <SignIn next={next} register={session?.register ?? false} oidc={session?.oidc ?? null} />;
}

/** Only addresses of this site; anything else could lead people away after they signed in. */
export function safeNext(next: string | null): string {
  if (!next) return '';
  const target = new URL(next, document.baseURI);
  const base = new URL(document.baseURI);
  if (target.origin !== base.origin || !target.pathname.startsWith(base.pathname)) return '';
  return target.pathname.slice(base.pathname.length) + target.search;
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="page">
      <section className="card login-card">
        <img src="./favicon.svg" alt="" />
        <h1>{title}</h1>
        {children}
      </section>
    </div>
  );
}

/** Run an action of a form; what goes wrong is one sentence, and the fields are kept. */
function useForm(action: (form: FormData) => Promise<void>) {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    setBusy(true);
    setError('');
    action(new FormData(event.currentTarget))
      .catch((problem: Error) => setError(problem.message))
      .finally(() => setBusy(false));
  };
  return { submit, error, busy };
}

async function logIn(username: string, password: string): Promise<void> {
  await request(url('auth/jwt/login'), { method: 'POST', body: new URLSearchParams({ username, password }) });
}

function SignIn({ next, register, oidc }: { next: string; register: boolean; oidc: string | null }) {
  const client = useQueryClient();
  const { submit, error, busy } = useForm(async (form) => {
    await logIn(String(form.get('username')), String(form.get('password')));
    await client.invalidateQueries();
    navigate(next);
  });
  return (
    <Card title="Sign in">
      <p className="muted">Signing in gives you a private space, uploads and computed datasets.</p>
      <form className="stack" style={{ marginTop: 18 }} onSubmit={submit}>
        <label className="field">
          E-mail
          <input className="input" name="username" type="email" autoComplete="username" required autoFocus />
        </label>
        <Password name="password" label="Password" autoComplete="current-password" />
        {error && (
          <p className="notice bad" role="alert">
            {error}
          </p>
        )}
        <button className="btn primary" disabled={busy}>
          Sign in
        </button>
      </form>
      {oidc !== null && (
        <a
          className="btn"
          style={{ marginTop: 10, width: '100%' }}
          href={`auth/oidc/login?next=${encodeURIComponent(next)}`}
        >
          Sign in with {oidc}
        </a>
      )}
      <p className="row" style={{ marginTop: 16, justifyContent: 'space-between' }}>
        <Link href="forgot-password">Forgot the password?</Link>
        {register && <Link href={`register?next=${encodeURIComponent(next)}`}>Create an account</Link>}
      </p>
    </Card>
  );
}

function Register({ next }: { next: string }) {
  const client = useQueryClient();
  const { submit, error, busy } = useForm(async (form) => {
    const email = String(form.get('email'));
    const password = String(form.get('password'));
    await send('POST', 'auth/register', { email, password });
    await logIn(email, password);
    await client.invalidateQueries();
    notify('Welcome! Your @personal space is ready.', 'good');
    navigate(next);
  });
  return (
    <Card title="Create an account">
      <form className="stack" style={{ marginTop: 18 }} onSubmit={submit}>
        <label className="field">
          E-mail
          <input className="input" name="email" type="email" autoComplete="username" required autoFocus />
        </label>
        <Password name="password" label="Password" autoComplete="new-password" isNew />
        {error && (
          <p className="notice bad" role="alert">
            {error}
          </p>
        )}
        <button className="btn primary" disabled={busy}>
          Create account
        </button>
      </form>
      <p style={{ marginTop: 16 }}>
        <Link href="login">I have an account</Link>
      </p>
    </Card>
  );
}

function Closed() {
  return (
    <Card title="Registration is closed">
      <p className="muted">Accounts are made by the administrator of this server. Ask for one.</p>
      <p style={{ marginTop: 14 }}>
        <Link href="login">Sign in</Link>
      </p>
    </Card>
  );
}

function Forgot() {
  const [sent, setSent] = useState(false);
  const { submit, error, busy } = useForm(async (form) => {
    await send('POST', 'auth/forgot-password', { email: String(form.get('email')) });
    setSent(true);
  });
  return (
    <Card title="Set a new password">
      {sent ? (
        <p className="notice good" role="status">
          If there is an account for this address, a link to set a new password is on its way. It is valid for one hour.
        </p>
      ) : (
        <form className="stack" style={{ marginTop: 12 }} onSubmit={submit}>
          <label className="field">
            E-mail
            <input className="input" name="email" type="email" autoComplete="username" required autoFocus />
          </label>
          {error && (
            <p className="notice bad" role="alert">
              {error}
            </p>
          )}
          <button className="btn primary" disabled={busy}>
            Send the link
          </button>
        </form>
      )}
      <p style={{ marginTop: 14 }}>
        <Link href="login">Back to sign in</Link>
      </p>
    </Card>
  );
}

function Reset({ token }: { token: string }) {
  const { submit, error, busy } = useForm(async (form) => {
    const password = String(form.get('password'));
    if (password !== form.get('again')) throw new ApiError(400, 'The two passwords differ.');
    await send('POST', 'auth/reset-password', { token, password });
    notify('The password is set. Sign in with it.', 'good');
    navigate('login');
  });
  return (
    <Card title="Set a new password">
      <form className="stack" style={{ marginTop: 12 }} onSubmit={submit}>
        <Password name="password" label="New password" autoComplete="new-password" isNew />
        <Password name="again" label="Once more" autoComplete="new-password" />
        {error && (
          <p className="notice bad" role="alert">
            {error}
          </p>
        )}
        <button className="btn primary" disabled={busy}>
          Set password
        </button>
      </form>
    </Card>
  );
}

interface PasswordProps {
  name: string;
  label: string;
  autoComplete: string;
  /** A password that is about to be chosen: the rules are said before typing. */
  isNew?: boolean;
}

export function Password({ name, label, autoComplete, isNew = false }: PasswordProps) {
  const least = useSession().data?.minPassword ?? 1;
  const [shown, setShown] = useState(false);
  return (
    <div className="field">
      <label htmlFor={`field-${name}`}>{label}</label>
      <div className="row" style={{ flexWrap: 'nowrap', gap: 6 }}>
        <input
          id={`field-${name}`}
          className="input"
          name={name}
          type={shown ? 'text' : 'password'}
          autoComplete={autoComplete}
          minLength={isNew ? least : undefined}
          required
          aria-describedby={isNew ? `hint-${name}` : undefined}
        />
        <button
          type="button"
          className="btn icon"
          aria-label={shown ? 'Hide password' : 'Show password'}
          aria-pressed={shown}
          onClick={() => setShown(!shown)}
        >
          {shown ? <EyeOff aria-hidden /> : <Eye aria-hidden />}
        </button>
      </div>
      {isNew && (
        <span id={`hint-${name}`} className="hint">
          At least {least} characters.
        </span>
      )}
    </div>
  );
}
