/**
 * n-dimensional views of flat arrays with the interface of the package `ndarray`, which compiles code at run time and
 * therefore cannot run under a content security policy without 'unsafe-eval'.
 */
type Flat = ArrayLike<unknown> & { [index: number]: unknown };

class View {
  readonly dimension: number;
  readonly size: number;

  constructor(
    readonly data: Flat,
    readonly shape: number[],
    readonly stride: number[],
    readonly offset: number,
  ) {
    this.dimension = shape.length;
    this.size = shape.reduce((product, length) => product * length, 1);
  }

  get dtype(): string {
    if (Array.isArray(this.data)) return 'array';
    const name = this.data.constructor.name.replace('Array', '').toLowerCase();
    return name === 'uint8clamped' ? 'uint8_clamped' : name;
  }

  get order(): number[] {
    return this.stride
      .map((step, axis) => [Math.abs(step), axis] as const)
      .sort((a, b) => a[0] - b[0])
      .map(([, axis]) => axis);
  }

  get T(): View {
    return this.transpose();
  }

  index(...at: number[]): number {
    let index = this.offset;
    for (let axis = 0; axis < this.dimension; axis++) index += (this.stride[axis] ?? 0) * (at[axis] ?? 0);
    return index;
  }

  get(...at: number[]): unknown {
    return this.data[this.index(...at)];
  }

  set(...at: unknown[]): unknown {
    const value = at.pop();
    this.data[this.index(...(at as number[]))] = value;
    return value;
  }

  lo(...start: number[]): View {
    const shape = this.shape.map((length, axis) => length - (start[axis] ?? 0));
    return new View(this.data, shape, this.stride, this.index(...start));
  }

  hi(...stop: (number | null)[]): View {
    return new View(
      this.data,
      this.shape.map((length, axis) => stop[axis] ?? length),
      this.stride,
      this.offset,
    );
  }

  step(...steps: number[]): View {
    let offset = this.offset;
    const shape = this.shape.map((length, axis) => {
      const step = steps[axis] ?? 1;
      if (step < 0) offset += (this.stride[axis] ?? 0) * (length - 1);
      return Math.ceil(length / Math.abs(step));
    });
    return new View(
      this.data,
      shape,
      this.stride.map((stride, axis) => stride * (steps[axis] ?? 1)),
      offset,
    );
  }

  transpose(...axes: number[]): View {
    const order = axes.length > 0 ? axes : this.shape.map((_, axis) => this.dimension - 1 - axis);
    const reorder = (values: number[]) => order.map((axis) => values[axis] ?? 0);
    return new View(this.data, reorder(this.shape), reorder(this.stride), this.offset);
  }

  pick(...at: (number | null)[]): View {
    const kept = this.shape.map((_, axis) => axis).filter((axis) => (at[axis] ?? -1) < 0);
    const start = this.shape.map((_, axis) => Math.max(at[axis] ?? 0, 0));
    const keep = (values: number[]) => kept.map((axis) => values[axis] ?? 0);
    return new View(this.data, keep(this.shape), keep(this.stride), this.index(...start));
  }
}

/** View `data` as an array of `shape`, in C order unless `stride` says otherwise. */
export default function ndarray(data: Flat, shape?: number[], stride?: number[], offset = 0): View {
  const lengths = shape ?? [data.length];
  const steps = stride ?? lengths.map((_, axis) => lengths.slice(axis + 1).reduce((product, n) => product * n, 1));
  return new View(data, lengths, steps, offset);
}
