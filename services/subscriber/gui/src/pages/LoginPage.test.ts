import { describe, expect, it } from 'vitest';
import { safeNext } from './LoginPage';

describe('where people go after signing in', () => {
  it('is always a page of this site', () => {
    expect(safeNext('/d/lab/x.b2nd?tab=table')).toBe('d/lab/x.b2nd?tab=table');
    expect(safeNext('https://example.org/')).toBe('');
    expect(safeNext('//example.org/')).toBe('');
    expect(safeNext('javascript:alert(1)')).toBe('');
    expect(safeNext(null)).toBe('');
  });
});
