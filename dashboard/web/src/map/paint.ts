/**
 * What moves: trails, tags, names, the chosen one. Tags are drawn in batches of one
 * colour and one fade, squares by fillRect, because that is what stays smooth at 10,000.
 */

import { ITEM, KINDS, TRAIL_POINTS, type Tags } from "../live/tags";
import { OLD_S, RECENT_S } from "../model";
import type { Theme } from "./theme";
import { screenX, screenY, type Size, type View } from "./view";

/** How strongly tags show: heard lately, heard within a minute, heard before. */
export const FADES = [1, 0.5, 0.22] as const;
/** The group after the fades: the lost, drawn hollow at their last place. */
const GHOST = FADES.length;
const GROUPS = FADES.length + 1;
const GHOST_ALPHA = 0.6;
/** More names than this would cover the map. */
const MAX_NAMES = 160;
/** Letters of a name on the map; the list has all of them. */
const MAX_NAME = 24;
/** The grid in which names keep out of each other's way, pixels. */
const NAME_CELL = { width: 24, height: 12 };
/** More uncertainty circles than this would only be fog. */
const MAX_CIRCLES = 600;
/** Above this many of a kind, shapes give way to squares. */
const MAX_SHAPES = 1500;
/** Names of items appear from this many pixels a metre on. */
const ITEM_NAMES_FROM = 34;
/** A mover that stands still leaves points within this of each other; not worth a line, metres. */
const TRAIL_STEP_M = 0.05;

export interface Scene {
  view: View;
  size: Size;
  theme: Theme;
  /** Milliseconds, as in `Tags.apply`. */
  now: number;
  /** The feed's time, Unix seconds. */
  time: number;
  floor: number;
  hidden: ReadonlySet<number>;
  lostHidden: boolean;
}

/** The tags in view, computed once a frame for all that draws or looks for them. */
export class Visible {
  count = 0;
  rows = new Int32Array(0);
  x = new Float32Array(0);
  y = new Float32Array(0);
  group = new Uint8Array(0);
  readonly sizes = new Int32Array(KINDS.length * GROUPS);

  gather(tags: Tags, scene: Scene): void {
    if (this.rows.length < tags.size) {
      this.rows = new Int32Array(tags.size);
      this.x = new Float32Array(tags.size);
      this.y = new Float32Array(tags.size);
      this.group = new Uint8Array(tags.size);
    }
    this.sizes.fill(0);
    const { view, size, now, time } = scene;
    let n = 0;
    for (let row = 0; row < tags.size; row++) {
      if (tags.floor[row] !== scene.floor || scene.hidden.has(tags.kind[row]!)) continue;
      const x = screenX(view, size, tags.drawnX(row, now));
      const y = screenY(view, size, tags.drawnY(row, now));
      if (x < -20 || y < -20 || x > size.width + 20 || y > size.height + 20) continue;
      const lost = tags.lost.has(row);
      if (lost && scene.lostHidden) continue;
      const age = time - tags.t[row]!;
      const fade = lost ? GHOST : age < RECENT_S ? 0 : age < OLD_S ? 1 : 2;
      const group = tags.kind[row]! * GROUPS + fade;
      this.rows[n] = row;
      this.x[n] = x;
      this.y[n] = y;
      this.group[n] = group;
      this.sizes[group]!++;
      n++;
    }
    this.count = n;
  }

  /** Whether the i-th in view is lost. */
  isGhost(i: number): boolean {
    return this.group[i]! % GROUPS === GHOST;
  }

  /** How many of those in view are lost. */
  get ghosts(): number {
    return KINDS.reduce((sum, _, kind) => sum + this.sizes[kind * GROUPS + GHOST]!, 0);
  }

  /** The row of the tag nearest to a pixel, within `reach` pixels, or null. */
  nearest(px: number, py: number, reach: number, tags: Tags): number | null {
    let best = reach * reach;
    let found: number | null = null;
    for (let i = 0; i < this.count; i++) {
      let distance = (this.x[i]! - px) ** 2 + (this.y[i]! - py) ** 2;
      // A person in front of a shelf is meant, not the box behind.
      if (tags.kind[this.rows[i]!] !== ITEM) distance *= 0.5;
      // ... and what is there before what was.
      if (this.isGhost(i)) distance *= 2;
      if (distance < best) {
        best = distance;
        found = this.rows[i]!;
      }
    }
    return found;
  }
}

export function paintTags(context: CanvasRenderingContext2D, visible: Visible, scene: Scene): void {
  const { theme, view } = scene;
  paintGhosts(context, visible, scene);
  // Items first, movers above them.
  for (let kind = KINDS.length - 1; kind >= 0; kind--) {
    const radius = tagRadius(kind, view.scale, visible.count);
    for (let fade = FADES.length - 1; fade >= 0; fade--) {
      const group = kind * GROUPS + fade;
      const size = visible.sizes[group]!;
      if (size === 0) continue;
      const plain = kind === ITEM || size > MAX_SHAPES;
      if (!plain) {
        context.globalAlpha = FADES[fade]!;
        context.fillStyle = theme.halo;
        fillGroup(context, visible, group, kind, radius + 1.75, false);
      } else if (size <= MAX_SHAPES && fade === 0) {
        context.globalAlpha = 1;
        context.fillStyle = theme.halo;
        fillGroup(context, visible, group, kind, radius + 1, true);
      }
      context.globalAlpha = FADES[fade]!;
      context.fillStyle = theme.kinds[kind]!;
      fillGroup(context, visible, group, kind, radius, plain);
    }
  }
  context.globalAlpha = 1;
}

/** The lost, below all others. */
function paintGhosts(context: CanvasRenderingContext2D, visible: Visible, scene: Scene): void {
  for (let kind = KINDS.length - 1; kind >= 0; kind--) {
    const group = kind * GROUPS + GHOST;
    if (visible.sizes[group] === 0) continue;
    const radius = tagRadius(kind, scene.view.scale, visible.count);
    context.beginPath();
    for (let i = 0; i < visible.count; i++) {
      if (visible.group[i] === group) addShape(context, kind, visible.x[i]!, visible.y[i]!, radius);
    }
    context.globalAlpha = GHOST_ALPHA;
    context.fillStyle = scene.theme.halo;
    context.fill();
    context.strokeStyle = scene.theme.kinds[kind]!;
    context.lineWidth = kind === ITEM ? 1.1 : 1.6;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** Half a tag's width in pixels: small on the whole site, larger close by. */
export function tagRadius(kind: number, scale: number, count: number): number {
  const crowd = count > 3000 ? 0.75 : 1;
  const near = Math.min(1.7, Math.max(0.75, Math.sqrt(scale / 16)));
  return (kind === ITEM ? 2.6 : 5) * near * crowd;
}

function fillGroup(
  context: CanvasRenderingContext2D,
  visible: Visible,
  group: number,
  kind: number,
  radius: number,
  plain: boolean,
): void {
  const { x, y } = visible;
  if (plain) {
    const side = 2 * radius;
    for (let i = 0; i < visible.count; i++) {
      if (visible.group[i] === group) context.fillRect(x[i]! - radius, y[i]! - radius, side, side);
    }
    return;
  }
  context.beginPath();
  for (let i = 0; i < visible.count; i++) {
    if (visible.group[i] === group) addShape(context, kind, x[i]!, y[i]!, radius);
  }
  context.fill("evenodd");
}

/** A kind's shape: what tells kinds apart without colour. */
export function addShape(
  path: CanvasPath,
  kind: number,
  x: number,
  y: number,
  radius: number,
): void {
  switch (KINDS[kind]) {
    case "picker":
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
      break;
    case "visitor": {
      const r = radius * 1.25;
      path.moveTo(x, y - r);
      path.lineTo(x + r, y);
      path.lineTo(x, y + r);
      path.lineTo(x - r, y);
      path.closePath();
      break;
    }
    case "cart":
      path.rect(x - radius * 1.35, y - radius * 0.75, radius * 2.7, radius * 1.5);
      break;
    case "other":
      for (let i = 0; i < 6; i++) {
        const angle = (i * Math.PI) / 3;
        const px = x + radius * 1.1 * Math.cos(angle);
        const py = y + radius * 1.1 * Math.sin(angle);
        if (i === 0) path.moveTo(px, py);
        else path.lineTo(px, py);
      }
      path.closePath();
      break;
    default:
      path.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  }
}

export function paintUncertainty(
  context: CanvasRenderingContext2D,
  visible: Visible,
  tags: Tags,
  scene: Scene,
): void {
  const all = visible.count <= MAX_CIRCLES;
  for (let kind = 0; kind < KINDS.length; kind++) {
    if (kind === ITEM && !all) continue;
    context.beginPath();
    let drawn = 0;
    for (let i = 0; i < visible.count && drawn < MAX_CIRCLES; i++) {
      const row = visible.rows[i]!;
      if (tags.kind[row] !== kind || visible.isGhost(i)) continue;
      const radius = tags.accuracy[row]! * scene.view.scale;
      context.moveTo(visible.x[i]! + radius, visible.y[i]!);
      context.arc(visible.x[i]!, visible.y[i]!, radius, 0, 2 * Math.PI);
      drawn++;
    }
    if (drawn === 0) continue;
    context.strokeStyle = scene.theme.kinds[kind]!;
    context.lineWidth = 1;
    context.globalAlpha = kind === ITEM ? 0.22 : 0.5;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** The ways of movers; the chosen one's is drawn as its track. */
export function paintTrails(
  context: CanvasRenderingContext2D,
  tags: Tags,
  chosen: number | null,
  scene: Scene,
): void {
  context.lineJoin = "round";
  context.lineCap = "round";
  context.lineWidth = 1.75;
  for (const [row, trail] of tags.trails) {
    const kind = tags.kind[row]!;
    if (trail.floor !== scene.floor || trail.length < 2 || scene.hidden.has(kind)) continue;
    if (row === chosen || tags.lost.has(row)) continue;
    context.strokeStyle = scene.theme.kinds[kind]!;
    // Three stretches, each stronger than the one before: the way fades behind the walker.
    for (let part = 0; part < 3; part++) {
      const begin = Math.floor((trail.length * part) / 3);
      const end = part === 2 ? trail.length : Math.floor((trail.length * (part + 1)) / 3) + 1;
      context.globalAlpha = [0.12, 0.26, 0.45][part]!;
      context.beginPath();
      let lastX = Infinity;
      let lastY = Infinity;
      for (let i = begin; i < end; i++) {
        const at = 2 * ((trail.start + i) % TRAIL_POINTS);
        // The last point is where the tag glides to; the line ends where it is drawn.
        const last = i === trail.length - 1;
        const x = last ? tags.drawnX(row, scene.now) : trail.points[at]!;
        const y = last ? tags.drawnY(row, scene.now) : trail.points[at + 1]!;
        if (!last && i > begin && Math.hypot(x - lastX, y - lastY) < TRAIL_STEP_M) continue;
        const px = screenX(scene.view, scene.size, x);
        const py = screenY(scene.view, scene.size, y);
        if (i === begin) context.moveTo(px, py);
        else context.lineTo(px, py);
        lastX = x;
        lastY = y;
      }
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

/** A way in metres, x and y in turn, as a line. */
export function paintTrack(
  context: CanvasRenderingContext2D,
  points: readonly number[],
  scene: Scene,
): void {
  if (points.length < 4) return;
  context.beginPath();
  for (let i = 0; i + 1 < points.length; i += 2) {
    const x = screenX(scene.view, scene.size, points[i]!);
    const y = screenY(scene.view, scene.size, points[i + 1]!);
    if (i === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  }
  context.lineJoin = "round";
  context.lineCap = "round";
  context.strokeStyle = scene.theme.select;
  context.globalAlpha = 0.55;
  context.lineWidth = 2.5;
  context.stroke();
  context.globalAlpha = 1;
}

/** Names beside tags, movers first, none over another; the chosen one has a plate instead. */
export function paintNames(
  context: CanvasRenderingContext2D,
  visible: Visible,
  tags: Tags,
  nameOf: (row: number) => string,
  lostSince: (row: number) => string | null,
  chosen: number | null,
  scene: Scene,
): void {
  const { view, theme } = scene;
  context.font = `500 11px ${theme.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  const taken = new Set<number>();
  let written = 0;
  for (const items of [false, true]) {
    if (items && view.scale < ITEM_NAMES_FROM) break;
    for (let i = 0; i < visible.count && written < MAX_NAMES; i++) {
      const row = visible.rows[i]!;
      if ((tags.kind[row] === ITEM) !== items || row === chosen) continue;
      const ghost = visible.isGhost(i);
      const name = shortened(nameOf(row)) + (ghost ? `, ${lostSince(row)}` : "");
      const x = visible.x[i]! + tagRadius(tags.kind[row]!, view.scale, visible.count) + 5;
      if (!takePlace(taken, x, visible.y[i]!, context.measureText(name).width)) continue;
      haloText(context, name, x, visible.y[i]!, theme, ghost ? theme.muted : theme.text);
      written++;
    }
  }
}

function shortened(name: string): string {
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 1).trimEnd()}…`;
}

/** Whether a name has room there, among those already written; takes it when it has. */
function takePlace(taken: Set<number>, x: number, y: number, width: number): boolean {
  const cells: number[] = [];
  const last = Math.floor((x + width) / NAME_CELL.width);
  for (let column = Math.floor(x / NAME_CELL.width); column <= last; column++) {
    // A name is lower than a cell, so it lies in two rows of them at most.
    for (const edge of [y - NAME_CELL.height / 2, y + NAME_CELL.height / 2]) {
      cells.push(Math.floor(edge / NAME_CELL.height) * 4096 + column);
    }
  }
  if (cells.some((cell) => taken.has(cell))) return false;
  for (const cell of cells) taken.add(cell);
  return true;
}

export function haloText(
  context: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  theme: Theme,
  colour: string,
): void {
  context.lineWidth = 3.5;
  context.strokeStyle = theme.halo;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

/** A name in a small plate above a place: the chosen one's, or that under the pointer. */
export function paintPlate(
  context: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  theme: Theme,
  strong: boolean,
): void {
  context.font = `600 12px ${theme.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + 16;
  const top = y - 36;
  // At the edge of the map it stays within it.
  const half = width / 2 + 4;
  const middle = Math.max(half, Math.min(x, context.canvas.clientWidth - half));
  context.beginPath();
  context.roundRect(middle - width / 2, top, width, 22, 6);
  context.fillStyle = strong ? theme.select : theme.text;
  context.fill();
  context.fillStyle = theme.halo;
  context.fillText(text, middle, top + 11.5);
}
