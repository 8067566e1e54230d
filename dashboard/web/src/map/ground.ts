/**
 * The floor layer: outline, grid, racks, walls and zones. Painted when the view or the site
 * changes, and then left alone while tags move above it.
 */

import type { Point, SiteDocument } from "../api";
import { boxOf } from "../model";
import type { Theme } from "./theme";
import { screenX, screenY, type Box, type Size, type View } from "./view";

/** Lines of the grid, metres. */
const GRID_M = 10;
/** Zone names are not written smaller than this, nor larger, in pixels. */
const LABEL_PX = { least: 10, most: 12.5 };

interface ZoneShape {
  id: string;
  name: string;
  path: Path2D;
  box: Box;
  tint: number;
}

/** A floor's shapes, in metres, made once for a site version. */
export interface Ground {
  box: Box;
  outline: Path2D;
  grid: Path2D;
  racks: Path2D;
  walls: Path2D;
  zones: ZoneShape[];
}

export function makeGround(site: SiteDocument, floorId: string): Ground | null {
  const floor = site.floors.find((candidate) => candidate.id === floorId);
  if (floor === undefined) return null;
  const racks = new Path2D();
  const walls = new Path2D();
  for (const obstacle of site.obstacles ?? []) {
    if (obstacle.floor === floorId) {
      addRing(obstacle.kind === "rack" ? racks : walls, obstacle.polygon);
    }
  }
  const outline = new Path2D();
  addRing(outline, floor.outline);
  const box = boxOf(floor.outline);
  const kinds = [...new Set((site.zones ?? []).map((zone) => zone.kind))];
  const zones = (site.zones ?? [])
    .filter((zone) => zone.floor === floorId)
    .map((zone) => {
      const path = new Path2D();
      addRing(path, zone.polygon);
      const tint = kinds.indexOf(zone.kind);
      return { id: zone.id, name: zone.name, path, box: boxOf(zone.polygon), tint };
    });
  return { box, outline, grid: gridOver(box), racks, walls, zones };
}

export interface GroundState {
  view: View;
  size: Size;
  ratio: number;
  theme: Theme;
  showZones: boolean;
  chosenZone: string | null;
  occupancy: ReadonlyMap<string, number>;
}

export function paintGround(
  context: CanvasRenderingContext2D,
  ground: Ground,
  state: GroundState,
): void {
  const { view, size, ratio, theme } = state;
  const hair = 1 / view.scale;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.setTransform(
    ratio * view.scale,
    0,
    0,
    -ratio * view.scale,
    ratio * (size.width / 2 - view.x * view.scale),
    ratio * (size.height / 2 + view.y * view.scale),
  );
  context.lineJoin = "round";
  context.fillStyle = theme.floor;
  context.fill(ground.outline);
  context.save();
  context.clip(ground.outline);
  context.strokeStyle = theme.grid;
  context.lineWidth = hair;
  context.stroke(ground.grid);
  context.restore();
  if (state.showZones) paintZones(context, ground, state, hair);
  context.fillStyle = theme.rack;
  context.fill(ground.racks);
  context.strokeStyle = theme.rackEdge;
  context.lineWidth = hair;
  context.stroke(ground.racks);
  context.fillStyle = theme.wall;
  context.fill(ground.walls);
  context.strokeStyle = theme.outline;
  context.lineWidth = 2 * hair;
  context.stroke(ground.outline);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (state.showZones) labelZones(context, ground, state);
}

function paintZones(
  context: CanvasRenderingContext2D,
  ground: Ground,
  state: GroundState,
  hair: number,
): void {
  const { theme } = state;
  for (const zone of ground.zones) {
    const chosen = zone.id === state.chosenZone;
    const colour = chosen ? theme.select : theme.zones[zone.tint % theme.zones.length]!;
    context.fillStyle = colour;
    context.strokeStyle = colour;
    context.globalAlpha = chosen ? 0.2 : 0.08;
    context.fill(zone.path);
    context.globalAlpha = chosen ? 1 : 0.35;
    context.lineWidth = (chosen ? 2 : 1) * hair;
    context.stroke(zone.path);
  }
  context.globalAlpha = 1;
}

function labelZones(
  context: CanvasRenderingContext2D,
  ground: Ground,
  state: GroundState,
): void {
  const { view, size, theme } = state;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const zone of ground.zones) {
    const [x0, y0, x1, y1] = zone.box;
    const width = (x1 - x0) * view.scale;
    const height = (y1 - y0) * view.scale;
    const upright = height > 1.6 * width;
    const [along, across] = upright ? [height, width] : [width, height];
    const px = Math.min(LABEL_PX.most, Math.max(LABEL_PX.least, across * 0.28));
    if (across < px + 4) continue;
    context.font = `550 ${px}px ${theme.font}`;
    const count = state.occupancy.get(zone.id) ?? 0;
    const text = count > 0 ? `${zone.name} · ${count}` : zone.name;
    const long = context.measureText(text).width;
    if (long > along - 8) continue;
    context.save();
    if (upright) {
      // From the top end, so that the names of zones that cross do not meet in their middle.
      context.translate(screenX(view, size, (x0 + x1) / 2), screenY(view, size, y1) + long / 2 + 9);
      context.rotate(-Math.PI / 2);
    } else {
      // A zone that is wide enough says its name at its top edge, out of the way of its tags.
      const top = across > 4 * px;
      const middle = screenY(view, size, (y0 + y1) / 2);
      context.translate(
        screenX(view, size, (x0 + x1) / 2),
        top ? screenY(view, size, y1) + px + 2 : middle,
      );
    }
    context.lineWidth = 3;
    context.strokeStyle = theme.halo;
    context.globalAlpha = 0.6;
    context.strokeText(text, 0, 0);
    context.globalAlpha = 1;
    context.fillStyle =
      zone.id === state.chosenZone ? theme.select : theme.zones[zone.tint % theme.zones.length]!;
    context.fillText(text, 0, 0);
    context.restore();
  }
}

function addRing(path: Path2D, ring: readonly Point[]): void {
  ring.forEach(([x, y], i) => (i === 0 ? path.moveTo(x, y) : path.lineTo(x, y)));
  path.closePath();
}

function gridOver([x0, y0, x1, y1]: Box): Path2D {
  const path = new Path2D();
  for (let x = Math.ceil(x0 / GRID_M) * GRID_M; x <= x1; x += GRID_M) {
    path.moveTo(x, y0);
    path.lineTo(x, y1);
  }
  for (let y = Math.ceil(y0 / GRID_M) * GRID_M; y <= y1; y += GRID_M) {
    path.moveTo(x0, y);
    path.lineTo(x1, y);
  }
  return path;
}
