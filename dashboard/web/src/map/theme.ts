/** The map's colours, read from the style sheet so that light and dark are decided in one place. */

import type { GatewayState } from "../live/protocol";
import { KINDS } from "../live/tags";

export interface Theme {
  floor: string;
  grid: string;
  outline: string;
  rack: string;
  rackEdge: string;
  wall: string;
  text: string;
  muted: string;
  halo: string;
  select: string;
  zones: string[];
  /** By place in KINDS. */
  kinds: string[];
  gateways: Record<GatewayState, string>;
  font: string;
}

export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const read = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    floor: read("map-floor"),
    grid: read("map-grid"),
    outline: read("map-outline"),
    rack: read("map-rack"),
    rackEdge: read("map-rack-edge"),
    wall: read("map-wall"),
    text: read("text"),
    muted: read("muted"),
    halo: read("map-floor"),
    select: read("accent"),
    zones: [0, 1, 2, 3, 4, 5].map((n) => read(`zone-${n}`)),
    kinds: KINDS.map((kind) => read(`kind-${kind}`)),
    gateways: {
      online: read("good"),
      late: read("warn"),
      offline: read("bad"),
      unknown: read("unknown"),
    },
    font: style.fontFamily,
  };
}
