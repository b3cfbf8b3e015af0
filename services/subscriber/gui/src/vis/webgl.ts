let known: boolean | undefined;

/** Whether this browser can draw pictures and lines: WebGL may be missing or switched off. */
export function hasWebgl(): boolean {
  known ??= Boolean(document.createElement('canvas').getContext('webgl2'));
  return known;
}
