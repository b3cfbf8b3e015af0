import {
  Box,
  Cpu,
  File,
  FileCode,
  FileImage,
  FileText,
  Image,
  Layers,
  Sigma,
  Table2,
  TrendingUp,
  Archive,
} from 'lucide-react';
import { infoKind } from '../api/dtype';
import type { Entry } from '../api/types';

const BY_SUFFIX: [RegExp, typeof File][] = [
  [/\.(png|jpe?g|gif|webp|tiff?|bmp)$/i, FileImage],
  [/\.(md|txt|rst|pdf)$/i, FileText],
  [/\.(py|ipynb|json|toml|ya?ml|csv|js|ts|c|h|sh|html?|xml)$/i, FileCode],
  [/\.(zip|tar|gz|tgz|h5|hdf5)$/i, Archive],
];

/** The icon of what a dataset looks like: line, picture, stack, table, file. */
export function iconOf(entry: Pick<Entry, 'path' | 'kind' | 'shape' | 'dtype'>): typeof File {
  if (entry.kind === 'lazy') return Cpu;
  if (entry.kind === 'frame') return Box;
  if (entry.kind !== 'array') return BY_SUFFIX.find(([suffix]) => suffix.test(entry.path))?.[1] ?? File;
  if (infoKind(entry.dtype ?? '') === 'record') return Table2;
  const axes = entry.shape?.length ?? 0;
  return axes === 0 ? Sigma : axes === 1 ? TrendingUp : axes === 2 ? Image : Layers;
}
