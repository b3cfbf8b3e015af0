import { fireEvent, render, screen } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';
import { SliceBar } from './SliceBar';

describe('the slice bar', () => {
  it('steps by button, key and number, and stays inside', () => {
    const onChange = vi.fn();
    render(<SliceBar shape={[20, 5, 5]} dims={[19, 'y', 'x']} pickers ready onChange={onChange} />);
    fireEvent.click(screen.getByLabelText('Next slice on D0'));
    expect(onChange).toHaveBeenLastCalledWith([19, 'y', 'x']);
    fireEvent.keyDown(window, { key: '{' });
    expect(onChange).toHaveBeenLastCalledWith([9, 'y', 'x']);
    const input = screen.getByLabelText('Type an index on D0');
    fireEvent.change(input, { target: { value: '999' } });
    fireEvent.keyDown(input, { key: 'Enter' });
    expect(onChange).toHaveBeenLastCalledWith([19, 'y', 'x']);
  });

  it('exchanges axes', () => {
    const onChange = vi.fn();
    render(<SliceBar shape={[20, 6, 7]} dims={[3, 'y', 'x']} pickers ready onChange={onChange} />);
    fireEvent.change(screen.getByLabelText('Axis drawn along y'), { target: { value: '0' } });
    expect(onChange).toHaveBeenLastCalledWith(['y', 3, 'x'], false);
    fireEvent.change(screen.getByLabelText('Axis drawn along y'), { target: { value: '2' } });
    expect(onChange).toHaveBeenLastCalledWith([3, 'x', 'y'], false);
  });
});
