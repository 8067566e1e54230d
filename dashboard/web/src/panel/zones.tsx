/** Zones with how many are in them. */

import type { ZoneOccupancy } from "../api";
import { KindGlyph } from "../glyphs";
import { KINDS } from "../live/tags";
import { useModel } from "../model";
import { KIND_NAMES } from "../text";
import { usePolled } from "./poll";

const EVERY_MS = 3000;

export function Zones() {
  const model = useModel();
  const polled = usePolled<{ zones: ZoneOccupancy[] }>("zones", EVERY_MS);
  const zones = polled.data.value?.zones ?? [];
  const most = Math.max(1, ...zones.map((zone) => zone.total));
  const chosen = model.selection.value;
  if (polled.data.value === null || zones.length === 0) {
    const waiting = polled.data.value === null ? "Waiting for the zones." : "The site has no zones.";
    return <p class="nothing">{polled.trouble.value || waiting}</p>;
  }
  return (
    <div class="window plain">
      <ul aria-label="Zones">
        {zones.map((zone) => (
          <li key={zone.id}>
            <button
              type="button"
              class="row"
              aria-current={chosen?.what === "zone" && chosen.id === zone.id ? "true" : undefined}
              onClick={() => model.select({ what: "zone", id: zone.id }, { fly: true })}
            >
              <span class="text">
                <span class="name">{zone.name}</span>
                <span class="meta kinds">
                  {KINDS.filter((kind) => zone.by_kind[kind]).map((kind) => (
                    <span key={kind} title={KIND_NAMES[kind].many}>
                      <KindGlyph kind={kind} />
                      <span class="hidden">{KIND_NAMES[kind].many} </span>
                      {zone.by_kind[kind]}
                    </span>
                  ))}
                  {zone.total === 0 && "Empty"}
                </span>
              </span>
              <span class="total">{zone.total}</span>
              <span class="meter" style={{ width: `${(100 * zone.total) / most}%` }} />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
