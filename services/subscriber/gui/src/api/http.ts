/** Requests to the subscriber. Every URL is relative to <base href>, so that the GUI works below a path prefix. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = '',
    readonly requestId = '',
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** Percent-encode a dataset path, keeping its slashes. */
export function quote(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

export function url(path: string, query: Record<string, string | number | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) search.set(key, String(value));
  const text = search.toString();
  return new URL(text ? `${path}?${text}` : path, document.baseURI).toString();
}

export async function request(target: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(target, { credentials: 'same-origin', ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The server cannot be reached. Check the connection, then try again.');
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response: Response): Promise<ApiError> {
  const id = response.headers.get('X-Request-Id') ?? '';
  let detail = '';
  let code = '';
  try {
    const body: unknown = JSON.parse(await response.text());
    if (body && typeof body === 'object' && 'detail' in body) {
      detail = detailText(body.detail);
      code = 'code' in body ? String(body.code) : detail;
    }
  } catch {
    // Not JSON: a proxy's page, or the text of an unhandled error. The status has to do.
  }
  return new ApiError(response.status, detail || sentenceOf(response.status), code, id);
}

const SENTENCES: Record<string, string> = {
  LOGIN_BAD_CREDENTIALS: 'This e-mail and password do not belong together.',
  REGISTER_USER_ALREADY_EXISTS: 'There is already an account for this e-mail address.',
  'Not Found': 'There is nothing here, or you may not see it.',
  RESET_PASSWORD_BAD_TOKEN: 'This link has expired or was used already. Ask for a new one.',
};

function detailText(detail: unknown): string {
  if (typeof detail === 'string') return SENTENCES[detail] ?? detail;
  if (Array.isArray(detail)) {
    return detail
      .map((item: { msg?: string }) => item.msg ?? '')
      .filter(Boolean)
      .join('; ');
  }
  if (detail && typeof detail === 'object' && 'reason' in detail) return String(detail.reason);
  return '';
}

function sentenceOf(status: number): string {
  if (status === 401) return 'Sign in to see this.';
  if (status === 403) return 'You may not do this.';
  if (status === 404) return 'There is nothing here, or you may not see it.';
  if (status === 413) return 'This is too large.';
  if (status === 429) return 'Too many attempts. Wait a little, then try again.';
  return status >= 500 ? 'The server failed to answer. Try again in a moment.' : `The server answered ${status}.`;
}

export async function getJson<T>(path: string, query = {}, signal?: AbortSignal): Promise<T> {
  return (await (await request(url(path, query), { signal })).json()) as T;
}

/** Send a JSON body, or none, and return the JSON answer (undefined if the answer is empty). */
export async function send<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await request(url(path), {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}
