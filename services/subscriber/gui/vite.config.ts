import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const here = (path: string) => new URL(path, import.meta.url).pathname;

export default defineConfig({
  // Relative, so that the bundle works below any path prefix: the server writes <base href> into index.html.
  base: './',
  plugins: [react()],
  resolve: {
    alias: {
      // Both compile code with `new Function`, which the content security policy forbids.
      'ndarray-ops': here('./src/vis/ndarray-ops-empty.ts'),
      ndarray: here('./src/vis/ndarray.ts'),
    },
  },
  build: {
    outDir: here('../src/caterva2_subscriber/static/app'),
    emptyOutDir: true,
    sourcemap: false,
    target: 'es2022',
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1500,
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ['/api', '/auth', '/media'].map((path) => [
        path,
        'http://127.0.0.1:8002',
      ]),
    ),
  },
  test: {
    environment: 'jsdom',
    setupFiles: ['./src/test-setup.ts'],
    include: ['src/**/*.test.{ts,tsx}'],
    server: { deps: { inline: ['@h5web/lib'] } },
  },
});
