/** Kinds and states as small drawings, the same shapes as on the map. */

import type { GatewayState, Kind } from "./live/protocol";

/** A kind's shape; hollow for what is lost. */
export function KindGlyph({ kind, lost = false }: { kind: Kind; lost?: boolean }) {
  return (
    <svg
      class={`glyph kind-${kind}${lost ? " ghost" : ""}`}
      viewBox="0 0 16 16"
      width="16"
      height="16"
      aria-hidden="true"
    >
      {kind === "picker" && <circle cx="8" cy="8" r="5" />}
      {kind === "visitor" && <path d="M8 1.75 14.25 8 8 14.25 1.75 8z" />}
      {kind === "cart" && <rect x="1.25" y="4.25" width="13.5" height="7.5" />}
      {kind === "other" && <path d="M13.5 8l-2.75 4.76h-5.5L2.5 8l2.75-4.76h5.5z" />}
      {kind === "item" && <rect x="4.25" y="4.25" width="7.5" height="7.5" />}
    </svg>
  );
}

/** A state's shape, with a badge when the gateway is suspect. */
export function GatewayGlyph({ state, suspect = false }: { state: GatewayState; suspect?: boolean }) {
  return (
    <svg class={`glyph state-${state}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      {state === "online" && (
        <>
          <circle cx="8" cy="8" r="5.5" />
          <circle class="dot" cx="8" cy="8" r="2.4" />
        </>
      )}
      {state === "late" && <path d="M8 2l6 11H2zM8 6.8v2.7" />}
      {state === "offline" && <path d="M2.8 2.8h10.4v10.4H2.8zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4" />}
      {state === "unknown" && <circle cx="8" cy="8" r="5.5" stroke-dasharray="2.4 3" />}
      {suspect && <path class="badge" d="M12 0.6l3.6 6.4H8.4z" />}
    </svg>
  );
}

const PATHS = {
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  layers: "M8 2.5l6 3.2-6 3.2-6-3.2zM2 8.4l6 3.2 6-3.2M2 11l6 3.2L14 11",
  close: "M4 4l8 8M12 4l-8 8",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3l3.4 3.4",
  warning: "M8 2l6.4 11.5H1.6zM8 6.4v3.2M8 11.6v.1",
  follow: "M8 4.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6zM8 1v3M8 12v3M1 8h3M12 8h3",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <circle cx="16" cy="16" r="3.5" />
      <path d="M10.7 10.7a7.5 7.5 0 0 0 0 10.6M21.3 10.7a7.5 7.5 0 0 1 0 10.6" />
      <path
        class="far"
        d="M6.8 6.8a13 13 0 0 0 0 18.4M25.2 6.8a13 13 0 0 1 0 18.4"
      />
    </svg>
  );
}
