/** Tiles of a large picture: few requests at a time, the newest first, and a bounded number kept. */
import { getLayerSizes, TilesApi } from '@h5web/lib';
import ndarray, { type NdArray } from 'ndarray';
import type { Vector2 } from 'three';
import { cellText, numbers, texture, type Numbers } from '../api/arrays';
import { readView, type Cost, type Read } from '../api/queries';
import { isTransposed, type Dims } from '../state/view';

export const TILE = 512;
const IN_FLIGHT = 6;
const KEPT = 220;
const KEPT_BYTES = 256 * 2 ** 20;
const RETRY_MS = 4000;

type Tile = NdArray<Float32Array | Uint8Array>;

interface Slot {
  tile: Tile | null;
  /** The values as they came, for their exact texts; null for a hole. */
  read: Read | null;
  /** Bytes that it holds. */
  size: number;
  promise: Promise<void>;
}

interface Job {
  run: () => Promise<void>;
}

export class ServerTiles extends TilesApi {
  private readonly slots = new Map<string, Slot>();
  private readonly waiting: Job[] = [];
  private running = 0;

  constructor(
    private readonly path: string,
    private readonly version: string,
    private readonly dims: Dims,
    rows: number,
    columns: number,
    private readonly onRead: (cost: Cost) => void,
    private readonly onFailure: (error: Error, again: () => void) => void,
    private readonly toTexture: (values: Numbers) => Float32Array | Uint8Array = texture,
  ) {
    const tileSize = { width: TILE, height: TILE };
    super(tileSize, getLayerSizes({ width: columns, height: rows }, tileSize));
  }

  /** The tile, or a promise thrown for Suspense while it is on its way. */
  get(layer: number, offset: Vector2): Tile {
    const key = `${layer}/${offset.y}/${offset.x}`;
    const known = this.slots.get(key);
    if (known) {
      this.slots.delete(key);
      this.slots.set(key, known);
      if (known.tile) return known.tile;
      throw known.promise;
    }
    const slot: Slot = { tile: null, read: null, size: 0, promise: Promise.resolve() };
    this.slots.set(key, slot);
    slot.promise = this.schedule(() => this.load(key, slot, layer, offset.x, offset.y));
    this.evict();
    throw slot.promise;
  }

  /** Let the tiles go that were not looked at for longest. */
  private evict(): void {
    let bytes = [...this.slots.values()].reduce((sum, slot) => sum + slot.size, 0);
    for (const [key, slot] of this.slots) {
      if (this.slots.size <= KEPT && bytes <= KEPT_BYTES) break;
      if (!slot.tile) continue;
      bytes -= slot.size;
      this.slots.delete(key);
    }
  }

  /** Exact text of a pixel from the finest tile at hand, and how many pixels along each axis it is the mean of. */
  textAt(row: number, column: number): { text: string; across: number } | null {
    for (let layer = this.baseLayerIndex; layer >= 0; layer--) {
      const across = 2 ** (this.baseLayerIndex - layer);
      const [y, x] = [Math.floor(row / across), Math.floor(column / across)];
      const [top, left] = [y - (y % TILE), x - (x % TILE)];
      const slot = this.slots.get(`${layer}/${top}/${left}`);
      if (!slot?.tile || !slot.read) continue;
      const [rows = 1, columns = 1] = slot.tile.shape;
      const index = isTransposed(this.dims) ? (x - left) * rows + (y - top) : (y - top) * columns + (x - left);
      return y - top < rows && x - left < columns ? { text: cellText(slot.read, index), across } : null;
    }
    return null;
  }

  private schedule(run: () => Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      this.waiting.push({ run: () => run().finally(resolve) });
      this.next();
    });
  }

  private next(): void {
    while (this.running < IN_FLIGHT && this.waiting.length > 0) {
      const job = this.waiting.pop() as Job;
      this.running += 1;
      void job.run().finally(() => {
        this.running -= 1;
        this.next();
      });
    }
  }

  private async load(key: string, slot: Slot, layer: number, x: number, y: number): Promise<void> {
    const size = this.layerSizes[layer] ?? { width: 0, height: 0 };
    const columns = Math.min(TILE, size.width - x);
    const rows = Math.min(TILE, size.height - y);
    try {
      const level = this.baseLayerIndex - layer;
      const read = await readView('tile', this.path, {
        s: this.dims.map((item) => spanOf(item, x, y, columns, rows)).join(','),
        level,
        v: this.version || undefined,
        filter: 'shuffle',
      });
      this.onRead({ ...read.cost, note: `level ${level}` });
      const flat = this.toTexture(numbers(read));
      slot.read = read;
      slot.size = read.bytes.byteLength + flat.byteLength;
      slot.tile = ndarray(isTransposed(this.dims) ? turned(flat, columns, rows) : flat, [rows, columns]) as Tile;
    } catch (error) {
      // A hole instead of an exception: the rest of the picture stays.
      slot.tile = ndarray(new Float32Array(rows * columns).fill(NaN), [rows, columns]) as Tile;
      const again = () => this.slots.delete(key);
      window.setTimeout(again, RETRY_MS);
      this.onFailure(error as Error, again);
    }
  }
}

function spanOf(item: number | 'x' | 'y', x: number, y: number, columns: number, rows: number): string {
  if (item === 'x') return `${x}:${x + columns}`;
  return item === 'y' ? `${y}:${y + rows}` : String(item);
}

/** The server sends axes in the order of the data: turn (columns, rows) into (rows, columns). */
function turned<T extends Float32Array | Uint8Array>(values: T, columns: number, rows: number): T {
  const out = values.slice() as T;
  for (let c = 0; c < columns; c++)
    for (let r = 0; r < rows; r++) out[r * columns + c] = values[c * rows + r] as number;
  return out;
}
