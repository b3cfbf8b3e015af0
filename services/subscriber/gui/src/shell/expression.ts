/** What a person types into the palette: an expression with its operands, or a command. */
import { baseName } from '../ui/format';

export interface Expression {
  name: string;
  formula: string;
  /** Whether the result is stored (`:=`) instead of computed when it is read (`=`). */
  compute: boolean;
  /** Names in the formula that are not functions. */
  names: string[];
  /** Operands given behind `#` as a dictionary. */
  given: Record<string, string>;
}

const FUNCTIONS = new Set(
  (
    'abs absolute sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh exp expm1 log log10 log1p log2 sqrt cbrt square ' +
    'where conj real imag angle floor ceil round trunc sign isnan isfinite isinf maximum minimum clip sum prod mean std var min max ' +
    'any all argmin argmax linspace arange zeros ones full contains and or not True False None axis keepdims num dtype shape power mod'
  ).split(' '),
);

/** Parse `name = formula` or `name := formula`, perhaps with `# {"a": "root/path"}` behind it; null if it is neither. */
export function parseExpression(text: string): Expression | null {
  const match = /^\s*([\p{L}_][\p{L}\p{N}_./-]*)\s*(:=|=(?!=))\s*(.+)$/u.exec(text);
  if (!match) return null;
  const [, name = '', operator, rest = ''] = match;
  const [formula = '', comment] = rest.split(/\s#\s*(?=\{)/);
  let given: Record<string, string> = {};
  if (comment) {
    try {
      given = JSON.parse(comment) as Record<string, string>;
    } catch {
      return null;
    }
  }
  return { name, formula: formula.trim(), compute: operator === ':=', names: namesIn(formula), given };
}

/** Identifiers of a formula that stand for datasets, in the order of their first use. */
export function namesIn(formula: string): string[] {
  const plain = formula.replace(/"[^"]*"|'[^']*'/g, '');
  const found = plain.matchAll(/(?<![\p{L}\p{N}_.])[\p{L}_][\p{L}\p{N}_]*/gu);
  return [...new Set([...found].map(([name]) => name))].filter((name) => !FUNCTIONS.has(name));
}

/** The name by which a dataset can stand in a formula: `shells-256.b2nd` becomes `shells_256`. */
export function operandName(path: string): string {
  const name = baseName(path)
    .replace(/\.(b2nd|b2frame)$/, '')
    .replace(/[^\p{L}\p{N}_]/gu, '_');
  return /^\p{N}/u.test(name) ? `_${name}` : name;
}

/** Letter tag of the n-th listed dataset: a … z, aa, ab … */
export function tag(n: number): string {
  let text = '';
  for (let i = n + 1; i > 0; i = Math.floor((i - 1) / 26)) text = String.fromCharCode(97 + ((i - 1) % 26)) + text;
  return text;
}

/** Paths of the operands: given ones, `this` (the open dataset), names of datasets, letter tags. */
export function resolveOperands(
  expression: Expression,
  open: string,
  listed: string[],
): { operands: Record<string, string>; unknown: string[] } {
  const operands: Record<string, string> = {};
  const unknown: string[] = [];
  for (const name of expression.names) {
    const path =
      expression.given[name] ??
      (name === 'this' && open ? open : undefined) ??
      [open, ...listed].find((candidate) => candidate && operandName(candidate) === name) ??
      listed.find((_, i) => tag(i) === name);
    if (path) operands[name] = path;
    else unknown.push(name);
  }
  return { operands, unknown };
}

/** Words of a command line; quotes keep spaces. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}
