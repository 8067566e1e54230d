/** Gateways with their health, those in trouble first. */

import { GatewayGlyph } from "../glyphs";
import type { GatewayState } from "../live/protocol";
import { useModel } from "../model";
import { ago, GATEWAY_NAMES, whole } from "../text";

const URGENCY: readonly GatewayState[] = ["offline", "late", "unknown", "online"];

export function Gateways() {
  const model = useModel();
  const chosen = model.selection.value;
  const healths = [...model.gateways.value.values()].sort(
    (a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state),
  );
  if (healths.length === 0) {
    const waiting = model.site.value === null ? "Waiting for the site." : "The site has no gateways.";
    return <p class="nothing">{waiting}</p>;
  }
  return (
    <div class="window plain">
      <ul aria-label="Gateways">
        {healths.map(({ id, state, rate, age }) => (
          <li key={id}>
            <button
              type="button"
              class="row"
              aria-current={chosen?.what === "gateway" && chosen.id === id ? "true" : undefined}
              onClick={() => model.select({ what: "gateway", id }, { fly: true })}
            >
              <GatewayGlyph state={state} />
              <span class="text">
                <span class="name">{id}</span>
                <span class="meta">
                  {GATEWAY_NAMES[state]}
                  {age !== null && `, heard ${ago(age)}`}
                </span>
              </span>
              <span class="age recent">{state === "online" ? `${whole(rate)}/s` : ""}</span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
