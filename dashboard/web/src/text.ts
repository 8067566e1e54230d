/** Numbers and times as people read them. */

import type { GatewayState, Kind } from "./live/protocol";

export const KIND_NAMES: Record<Kind, { one: string; many: string }> = {
  picker: { one: "Picker", many: "Pickers" },
  visitor: { one: "Visitor", many: "Visitors" },
  cart: { one: "Cart", many: "Carts" },
  other: { one: "Other", many: "Others" },
  item: { one: "Item", many: "Items" },
};

export const GATEWAY_NAMES: Record<GatewayState, string> = {
  online: "Online",
  late: "Late",
  offline: "Offline",
  unknown: "Never heard",
};

/** How long ago, shortly: `now`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function since(seconds: number): string {
  if (seconds < 2) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** The same with `ago`, for sentences. */
export function ago(seconds: number): string {
  const text = since(seconds);
  return text === "now" ? "just now" : `${text} ago`;
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** A clock of the site's time zone: Unix seconds to `14:03:12`. */
export function clock(timezone: string): (t: number) => string {
  const options: Intl.DateTimeFormatOptions = {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  };
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone: timezone });
  } catch {
    // The browser may not know the zone; its own is the next best.
    format = new Intl.DateTimeFormat("en-GB", options);
  }
  return (t) => format.format(t * 1000);
}
