import { describe, expect, it } from 'vitest';
import { namesIn, operandName, parseExpression, resolveOperands, tag, wordsOf } from './expression';

describe('expressions', () => {
  it('tells lazy from stored results', () => {
    expect(parseExpression('bright = sqrt(this) * 2')).toMatchObject({
      name: 'bright',
      compute: false,
      names: ['this'],
    });
    expect(parseExpression('sum1 := sum(a + b)')).toMatchObject({ name: 'sum1', compute: true, names: ['a', 'b'] });
    expect(parseExpression('a == b')).toBeNull();
    expect(parseExpression('just words')).toBeNull();
  });

  it('takes operands given behind #', () => {
    const parsed = parseExpression('c = a + b # {"a": "foo/x.b2nd"}');
    expect(parsed?.given).toEqual({ a: 'foo/x.b2nd' });
    expect(parsed?.formula).toBe('a + b');
  });

  it('finds names, not functions, attributes or text', () => {
    expect(namesIn('where(a > 1e5, sin(b_2), "text") + 2j')).toEqual(['a', 'b_2']);
  });

  it('resolves this, names and letter tags', () => {
    const parsed = parseExpression('r = this + shells_256 + b + nope');
    const listed = ['lab/first.b2nd', 'lab/shells-256.b2nd'];
    expect(parsed && resolveOperands(parsed, 'lab/open.b2nd', listed)).toEqual({
      operands: { this: 'lab/open.b2nd', shells_256: 'lab/shells-256.b2nd', b: 'lab/shells-256.b2nd' },
      unknown: ['nope'],
    });
    expect(operandName('foo/3d-x.b2nd')).toBe('_3d_x');
    expect([0, 25, 26, 27].map(tag)).toEqual(['a', 'z', 'aa', 'ab']);
    expect(wordsOf('cp "a b" c')).toEqual(['cp', 'a b', 'c']);
  });
});
