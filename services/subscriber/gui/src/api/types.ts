/** Answers of the REST API, as far as the GUI reads them. */

export type Kind = 'array' | 'frame' | 'file' | 'hdf5' | 'lazy';

export interface Entry {
  /** API path, `ROOT/sub/name`. */
  path: string;
  kind: Kind;
  dtype: string | null;
  shape: number[] | null;
  nbytes: number;
  /** Unix time in seconds. */
  mtime: number | null;
  etag: string;
}

export interface Folder {
  name: string;
  count: number;
  nbytes: number;
}

export interface Listing {
  path: string;
  folders: Folder[];
  entries: Entry[];
  next: string | null;
}

export interface Found {
  entries: Entry[];
  total: number;
  next: string | null;
}

export interface Root {
  name: string;
  http: string;
  subscribed: boolean | null;
  /** Whether the person who asks is subscribed; absent for visitors. */
  mine?: boolean;
  state?: 'online' | 'offline' | null;
  offline_since?: number | null;
  description?: string | null;
  access?: string | null;
  ndatasets?: number | null;
  nbytes?: number | null;
}

/** Who is asking, and what that person may do here. */
export interface Session {
  email: string | null;
  superuser: boolean;
  groups: string[];
  /** Whether people can sign in at all, and make accounts themselves. */
  login: boolean;
  register: boolean;
  /** Characters that a new password must have. */
  minPassword: number;
  /** Name of the site's OpenID provider; null if there is none. */
  oidc: string | null;
  /** Where notebooks are opened to be run; null if nowhere. */
  jupyterlite: string | null;
  /** Roots that the person may write to, the own one first. */
  writable: string[];
  /** Bytes taken and allowed; null while nobody knows. */
  space: { used: number; quota: number | null; whose: string; left: number } | null;
}

export interface SchunkInfo {
  cbytes?: number;
  cratio?: number;
  nbytes?: number;
  nchunks?: number;
  chunksize?: number;
  cparams?: Record<string, unknown>;
  vlmeta?: Record<string, unknown>;
}

export interface Info extends SchunkInfo {
  shape?: number[];
  chunks?: number[];
  blocks?: number[];
  dtype?: string;
  schunk?: SchunkInfo;
  mtime?: string | number | null;
  size?: number;
  expression?: string;
  operands?: Record<string, string>;
  error?: string;
  /** Why a file could not be read, in a sentence. */
  reason?: string;
  expr?: string;
  missing_ops?: Record<string, string>;
  version?: string;
  freshness?: { verified_age_s: number; stale_s: number | null };
}

/** Info with the version it belongs to and how current that is known to be. */
export interface Versioned {
  info: Info;
  version: string;
  /** Seconds since the publisher was last known to have this version, while it cannot be reached. */
  stale: number | null;
}

export interface Statistics {
  count: number;
  nonfinite: number;
  approx: boolean;
  min: number | null;
  max: number | null;
  mean: number | null;
  std: number | null;
  p_low: number | null;
  p_high: number | null;
  positive_min: number | null;
  histogram: { counts: number[]; edges: number[] } | null;
}

export interface CacheMap {
  /** Number of chunks along every axis. */
  grid: number[];
  chunks: number[];
  shape: number[];
  nchunks: number;
  /** Chunks that are at this server. */
  local: number;
  local_bytes: number;
  /** Base64 of a bitmap, chunk 0 in the highest bit of the first byte. */
  bitmap: string;
  /** False where all data live at this server anyway. */
  remote: boolean;
}
