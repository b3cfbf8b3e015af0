/** Commands of the palette: what they are called, and what they do. */
import type { QueryClient } from '@tanstack/react-query';
import { quote, send } from '../api/http';
import { refresh, unfold } from '../state/actions';
import { navigate, placeOf } from '../state/location';
import { notify } from '../state/notices';
import { change, isDark, settings } from '../state/settings';

export interface CommandContext {
  client: QueryClient;
  open: string;
  /** Path of a word: a path, `this`, or a letter tag. */
  path: (word: string) => string;
}

export interface Command {
  names: string[];
  usage: string;
  help: string;
  run: (words: string[], context: CommandContext) => Promise<void> | void;
}

class Usage extends Error {}

function need(words: string[], count: number): string[] {
  if (words.length < count) throw new Usage('This command needs more words.');
  return words;
}

async function transfer(what: 'copy' | 'move', words: string[], { client, path }: CommandContext): Promise<void> {
  const [src = '', dst = ''] = need(words, 2);
  const made = await send<string>('POST', `api/${what}/`, { src: path(src), dst: path(dst) });
  refresh(client, path(src));
  refresh(client, made);
  navigate(placeOf(made));
}

async function join(what: 'stack' | 'concat', words: string[], { client, path }: CommandContext): Promise<void> {
  const arrow = words.indexOf('>');
  const axis = Number(words[0]);
  if (arrow < 2 || !Number.isInteger(axis) || !words[arrow + 1]) throw new Usage(`Write: ${what} AXIS A B … > RESULT`);
  const srcs = words.slice(1, arrow).map(path);
  const made = await send<string>('POST', `api/${what}/`, { srcs, dst: words[arrow + 1], axis });
  refresh(client, made);
  navigate(placeOf(made));
}

export const COMMANDS: Command[] = [
  { names: ['home'], usage: 'home', help: 'All roots', run: () => navigate('') },
  {
    names: ['theme'],
    usage: 'theme',
    help: 'Light or dark',
    run: () => change({ theme: isDark(settings().theme) ? 'light' : 'dark' }),
  },
  {
    names: ['subscriptions'],
    usage: 'subscriptions',
    help: 'Roots and their publishers',
    run: () => navigate('subscriptions'),
  },
  {
    names: ['subscribe'],
    usage: 'subscribe ROOT',
    help: 'Follow a root',
    run: async (words, { client }) => {
      const [root = ''] = need(words, 1);
      await send('POST', `api/subscribe/${quote(root)}`);
      await client.invalidateQueries();
      navigate(placeOf(root));
    },
  },
  {
    names: ['cp', 'copy'],
    usage: 'cp SOURCE DESTINATION',
    help: 'Copy a dataset',
    run: (w, c) => transfer('copy', w, c),
  },
  {
    names: ['mv', 'move'],
    usage: 'mv SOURCE DESTINATION',
    help: 'Move or rename',
    run: (w, c) => transfer('move', w, c),
  },
  {
    names: ['rm', 'remove'],
    usage: 'rm PATH',
    help: 'Delete a dataset or folder',
    run: async (words, { client, path }) => {
      const [word = ''] = need(words, 1);
      const target = path(word);
      if (!window.confirm(`Delete ${target} for good?`)) return;
      await send('POST', `api/remove/${quote(target)}`);
      refresh(client, target);
      notify(`Deleted ${target}`, 'good');
    },
  },
  {
    names: ['addnb'],
    usage: 'addnb PATH.ipynb',
    help: 'New empty notebook',
    run: async (words, { client }) => {
      const [word = ''] = need(words, 1);
      const made = await send<string>('POST', `api/addnotebook/${quote(word)}`);
      refresh(client, made);
      navigate(placeOf(made));
    },
  },
  {
    names: ['unfold'],
    usage: 'unfold FILE.h5',
    help: 'Fold a container out into datasets',
    run: async (words, { client, path }) => navigate(placeOf(await unfold(client, path(need(words, 1)[0] ?? '')))),
  },
  {
    names: ['stack'],
    usage: 'stack AXIS A B … > RESULT',
    help: 'Join along a new axis',
    run: (w, c) => join('stack', w, c),
  },
  {
    names: ['concat'],
    usage: 'concat AXIS A B … > RESULT',
    help: 'Join along an axis',
    run: (w, c) => join('concat', w, c),
  },
  {
    names: ['adduser'],
    usage: 'adduser E-MAIL PASSWORD',
    help: 'Make an account (superusers)',
    run: async (words) => {
      const [username, password = null] = need(words, 1);
      notify(await send<string>('POST', 'api/adduser/', { username, password, superuser: false }), 'good');
    },
  },
  { names: ['lsu', 'listusers', 'users'], usage: 'users', help: 'Accounts (superusers)', run: () => navigate('admin') },
  { names: ['account'], usage: 'account', help: 'Password, sessions, API tokens', run: () => navigate('account') },
  { names: ['help'], usage: 'help', help: 'Shortcuts and versions', run: () => navigate('help') },
];

export function findCommands(line: string): Command[] {
  const [word = ''] = line.trim().split(/\s+/);
  return COMMANDS.filter(
    (command) => command.names.some((name) => name.startsWith(word)) || command.help.toLowerCase().includes(word),
  );
}
