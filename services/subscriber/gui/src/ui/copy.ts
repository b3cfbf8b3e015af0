import { notify } from '../state/notices';

/** Put text on the clipboard. Browsers offer the modern way only on HTTPS and localhost. */
export async function copy(text: string, what: string): Promise<void> {
  const done = navigator.clipboard ? await modern(text) : byTextArea(text);
  notify(done ? `${what} copied` : 'The browser did not allow copying', done ? 'good' : 'bad');
}

async function modern(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return byTextArea(text);
  }
}

function byTextArea(text: string): boolean {
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}
