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

/** What may be wrong with a gateway, by the reason that the workers give. */
const SUSPICIONS: Record<string, string> = {
  moved: "May have been moved",
  "mis-surveyed": "May hang elsewhere than the site says",
  deaf: "Hears less than it should",
  "quiet transmitter": "May send too weakly",
  obstructed: "May be obstructed",
  clock: "Its clock may be wrong",
};

/** A suspicion in a few words; a reason that is new to the page stands for itself. */
export function suspicion(reason: string): string {
  return SUSPICIONS[reason] ?? `Suspect: ${reason}`;
}

/** What a site's radio model was made from, by its document's `origin`. */
export const MODEL_NAMES: Record<string, string> = {
  prior: "the prior, nothing measured",
  survey: "from a survey",
  gateways: "from the gateways' adverts",
  work: "from the daily work",
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

/** The same with a capital, to begin a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What a worker says, as a sentence of its own: its ids stand in backticks, which a page has no use for. */
export function sentence(text: string): string {
  const plain = text.startsWith("`") ? text.replaceAll("`", "") : capital(text.replaceAll("`", ""));
  return plain === "" || /[.!?]$/.test(plain) ? plain : `${plain}.`;
}

/** With its sign, to the tenth: `+1.3`, `−6.0`. */
export function signed(value: number): string {
  const text = Math.abs(value).toFixed(1);
  return text === "0.0" ? text : `${value < 0 ? "−" : "+"}${text}`;
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

const TIME: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** A clock of the site's time zone: Unix seconds to `14:03:12`. */
export function clock(timezone: string): (t: number) => string {
  const format = formatOf(timezone, { ...TIME, second: "2-digit" });
  return (t) => format.format(t * 1000);
}

/** When something was, in the site's time zone: `14:03`, or `27 Jul, 14:03` on another day than now. */
export function moment(timezone: string): (t: number, now: number) => string {
  const time = formatOf(timezone, TIME);
  const day = formatOf(timezone, { day: "numeric", month: "short" });
  return (t, now) => {
    const date = day.format(t * 1000);
    const said = time.format(t * 1000);
    // A year later the same day is another one.
    const today = date === day.format(now * 1000) && Math.abs(now - t) < 172_800;
    return today ? said : `${date}, ${said}`;
  };
}

function formatOf(timezone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: timezone });
  } catch {
    // The browser may not know the zone; its own is the next best.
    return new Intl.DateTimeFormat("en-GB", options);
  }
}
