/** Gateways on the map: their state by shape and colour, and a badge for what is suspect. */

import type { GatewayState } from "../live/protocol";
import type { Scene } from "./paint";
import type { Theme } from "./theme";
import { screenX, screenY } from "./view";

export interface GatewayMark {
  id: string;
  x: number;
  y: number;
  state: GatewayState;
  suspect: boolean;
}

export function paintGateway(
  context: CanvasRenderingContext2D,
  mark: GatewayMark,
  scene: Scene,
  chosen: boolean,
): void {
  const x = screenX(scene.view, scene.size, mark.x);
  const y = screenY(scene.view, scene.size, mark.y);
  const r = scene.view.scale < 8 ? 5 : 6.5;
  const colour = scene.theme.gateways[mark.state];
  context.lineJoin = "round";
  context.lineCap = "round";
  if (chosen) {
    context.beginPath();
    context.arc(x, y, r + 6, 0, 2 * Math.PI);
    context.strokeStyle = scene.theme.select;
    context.lineWidth = 2.5;
    context.stroke();
  }
  context.beginPath();
  context.arc(x, y, r + 2, 0, 2 * Math.PI);
  context.fillStyle = scene.theme.halo;
  context.fill();
  context.beginPath();
  addGateway(context, mark.state, x, y, r);
  context.strokeStyle = colour;
  context.lineWidth = 1.8;
  context.setLineDash(mark.state === "unknown" ? [2.5, 3.2] : []);
  context.stroke();
  context.setLineDash([]);
  if (mark.state === "online") {
    context.beginPath();
    context.arc(x, y, r * 0.4, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
  }
  if (mark.suspect) paintBadge(context, x + r * 0.8, y - r * 0.8, scene.theme);
}

/** The small triangle of a suspect gateway, over its upper right. */
function paintBadge(context: CanvasRenderingContext2D, x: number, y: number, theme: Theme): void {
  context.beginPath();
  context.moveTo(x, y - 5);
  context.lineTo(x + 5, y + 3.5);
  context.lineTo(x - 5, y + 3.5);
  context.closePath();
  context.lineWidth = 2.5;
  context.strokeStyle = theme.halo;
  context.stroke();
  context.fillStyle = theme.gateways.late;
  context.fill();
}

/** A state's shape: ring with a dot, triangle, crossed square, broken ring. */
function addGateway(path: CanvasPath, state: GatewayState, x: number, y: number, r: number): void {
  if (state === "late") {
    path.moveTo(x, y - r);
    path.lineTo(x + r, y + r * 0.75);
    path.lineTo(x - r, y + r * 0.75);
    path.closePath();
    path.moveTo(x, y - r * 0.25);
    path.lineTo(x, y + r * 0.25);
  } else if (state === "offline") {
    const h = r * 0.85;
    path.rect(x - h, y - h, 2 * h, 2 * h);
    path.moveTo(x - h * 0.45, y - h * 0.45);
    path.lineTo(x + h * 0.45, y + h * 0.45);
    path.moveTo(x + h * 0.45, y - h * 0.45);
    path.lineTo(x - h * 0.45, y + h * 0.45);
  } else {
    path.moveTo(x + r * 0.9, y);
    path.arc(x, y, r * 0.9, 0, 2 * Math.PI);
  }
}
