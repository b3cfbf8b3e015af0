import { ArrowUpDown, Ellipsis, Grid2x2, Percent, RectangleHorizontal, Spline, type LucideIcon } from 'lucide-react';
import type { ComponentType } from 'react';

/** @h5web/lib asks for components that insist on a class name. */
type ToolIcon = ComponentType<{ className: string }>;
const tool = (icon: LucideIcon) => icon as unknown as ToolIcon;

export const ClipIcon = tool(Percent);
export const FlipIcon = tool(ArrowUpDown);
export const GridIcon = tool(Grid2x2);
export const PhaseIcon = tool(Spline);
export const PointsIcon = tool(Ellipsis);
export const RatioIcon = tool(RectangleHorizontal);
