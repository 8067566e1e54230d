/** The camera: which part of the floor fills the canvas. Pure arithmetic; y points up on a site. */

export interface View {
  /** What is in the middle, metres. */
  x: number;
  y: number;
  /** Pixels a metre. */
  scale: number;
}

export interface Size {
  width: number;
  height: number;
}

export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

/** A whole site fits at the least of these, a shelf fills the screen at the most; pixels a metre. */
export const SCALE = { least: 0.5, most: 160 };
/** What a wanted thing is looked at with, pixels a metre, unless the map is closer already. */
export const CLOSE = 24;

export function screenX(view: View, size: Size, x: number): number {
  return (x - view.x) * view.scale + size.width / 2;
}

export function screenY(view: View, size: Size, y: number): number {
  return (view.y - y) * view.scale + size.height / 2;
}

export function siteX(view: View, size: Size, px: number): number {
  return (px - size.width / 2) / view.scale + view.x;
}

export function siteY(view: View, size: Size, py: number): number {
  return view.y - (py - size.height / 2) / view.scale;
}

/** Room to leave at the edges, pixels: what lies over the map there should cover nothing. */
export interface Margins {
  top: number;
  right: number;
  bottom: number;
  left: number;
}

/** The view that shows all of a box within the margins. */
export function fit(box: Box, size: Size, margins: Margins): View {
  const width = Math.max(box[2] - box[0], 1);
  const height = Math.max(box[3] - box[1], 1);
  const scale = clampScale(
    Math.min(
      Math.max(size.width - margins.left - margins.right, 40) / width,
      Math.max(size.height - margins.top - margins.bottom, 40) / height,
    ),
  );
  return {
    x: (box[0] + box[2] + (margins.right - margins.left) / scale) / 2,
    y: (box[1] + box[3] - (margins.bottom - margins.top) / scale) / 2,
    scale,
  };
}

/** Zooms by `factor` so that what is under the pixel stays under it. */
export function zoomAt(view: View, size: Size, px: number, py: number, factor: number): View {
  const scale = clampScale(view.scale * factor);
  const dx = px - size.width / 2;
  const dy = py - size.height / 2;
  return {
    x: siteX(view, size, px) - dx / scale,
    y: siteY(view, size, py) + dy / scale,
    scale,
  };
}

export function pan(view: View, dx: number, dy: number): View {
  return { x: view.x - dx / view.scale, y: view.y + dy / view.scale, scale: view.scale };
}

/** Keeps the middle of the view within the box, so that the floor cannot be lost. */
export function within(view: View, box: Box): View {
  return {
    x: Math.min(Math.max(view.x, box[0]), box[2]),
    y: Math.min(Math.max(view.y, box[1]), box[3]),
    scale: view.scale,
  };
}

/** Part of the way from one view to another, 0 to 1, eased; zoom goes by ratio. */
export function between(from: View, to: View, share: number): View {
  const eased = 1 - (1 - share) ** 3;
  return {
    x: from.x + (to.x - from.x) * eased,
    y: from.y + (to.y - from.y) * eased,
    scale: from.scale * (to.scale / from.scale) ** eased,
  };
}

/** A round length for the scale bar that takes at most `room` pixels, in metres. */
export function scaleBar(scale: number, room: number): number {
  const most = room / scale;
  const power = 10 ** Math.floor(Math.log10(most));
  const lead = most / power;
  return power * (lead >= 5 ? 5 : lead >= 2 ? 2 : 1);
}

function clampScale(scale: number): number {
  return Math.min(Math.max(scale, SCALE.least), SCALE.most);
}
