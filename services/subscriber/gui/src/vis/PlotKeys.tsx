import { useVisCanvasContext } from '@h5web/lib';
import { useThree } from '@react-three/fiber';
import { useEffect } from 'react';

const STEP = 0.1;
const FACTOR = 0.8;

/** Keys of the plot that has the focus: `+` and `-` zoom, arrows pan, `0` shows everything again. */
export function PlotKeys() {
  const { r3fRoot, visSize, visCanvas } = useVisCanvasContext();
  const camera = useThree((state) => state.camera);
  const invalidate = useThree((state) => state.invalidate);

  useEffect(() => {
    visCanvas.tabIndex = 0;
    visCanvas.setAttribute('role', 'application');
    visCanvas.setAttribute('aria-label', 'Plot: plus and minus zoom, arrows pan, 0 shows everything');
    const limit = (value: number, half: number) => Math.min(Math.max(value, -half), half);
    const move = (x: number, y: number) => {
      const { width, height } = visSize;
      camera.position.x = limit(camera.position.x + x * width * camera.scale.x, (width * (1 - camera.scale.x)) / 2);
      camera.position.y = limit(camera.position.y + y * height * camera.scale.y, (height * (1 - camera.scale.y)) / 2);
    };
    const zoom = (factor: number) => {
      camera.scale.x = Math.min(camera.scale.x * factor, 1);
      camera.scale.y = Math.min(camera.scale.y * factor, 1);
      move(0, 0);
    };
    const actions: Record<string, () => void> = {
      '+': () => zoom(FACTOR),
      '-': () => zoom(1 / FACTOR),
      '0': () => zoom(Infinity),
      ArrowLeft: () => move(-STEP, 0),
      ArrowRight: () => move(STEP, 0),
      ArrowUp: () => move(0, STEP),
      ArrowDown: () => move(0, -STEP),
    };
    const onKey = (event: KeyboardEvent) => {
      const action = actions[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      action();
      camera.updateMatrixWorld();
      invalidate();
      event.preventDefault();
      event.stopPropagation();
    };
    visCanvas.addEventListener('keydown', onKey);
    return () => visCanvas.removeEventListener('keydown', onKey);
  }, [camera, invalidate, r3fRoot, visCanvas, visSize]);
  return null;
}
