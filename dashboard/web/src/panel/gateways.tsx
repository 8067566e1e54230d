/** Gateways with their health, those in trouble first, and the radio model that is in use. */

import type { ModelInUse } from "../api";
import { GatewayGlyph } from "../glyphs";
import type { GatewayHealth, GatewayState } from "../live/protocol";
import { useModel } from "../model";
import { ago, GATEWAY_NAMES, MODEL_NAMES, suspicion, whole } from "../text";
import { usePolled } from "./poll";

const URGENCY: readonly (GatewayState | "suspect")[] = [
  "offline",
  "late",
  "suspect",
  "unknown",
  "online",
];
const MODEL_EVERY_MS = 5000;

export function Gateways() {
  const model = useModel();
  const chosen = model.selection.value;
  const healths = [...model.gateways.value.values()].sort((a, b) => urgency(a) - urgency(b));
  if (healths.length === 0) {
    const waiting = model.site.value === null ? "Waiting for the site." : "The site has no gateways.";
    return <p class="nothing">{waiting}</p>;
  }
  return (
    <div class="window plain">
      <RadioModel />
      <ul aria-label="Gateways">
        {healths.map(({ id, state, rate, age, suspect }) => (
          <li key={id}>
            <button
              type="button"
              class="row"
              aria-current={chosen?.what === "gateway" && chosen.id === id ? "true" : undefined}
              onClick={() => model.select({ what: "gateway", id }, { fly: true })}
            >
              <GatewayGlyph state={state} suspect={suspect !== undefined} />
              <span class="text">
                <span class="name">{id}</span>
                <span class="meta">
                  {suspect !== undefined && <strong class="warns">{suspicion(suspect)}. </strong>}
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

function urgency({ state, suspect }: GatewayHealth): number {
  const trouble = state === "offline" || state === "late" || suspect === undefined;
  return URGENCY.indexOf(trouble ? state : "suspect");
}

/** One line on the radio model: what it is from, its version, what the site has fitted itself. */
function RadioModel() {
  const polled = usePolled<{ partitions: ModelInUse[] }>("calibration/in-use", MODEL_EVERY_MS);
  const partitions = polled.data.value?.partitions ?? [];
  const first = partitions[0];
  if (first === undefined) return null;
  const same = partitions.every(({ version }) => version === first.version);
  const fits = partitions.reduce((sum, each) => sum + each.fits, 0);
  const adopted = partitions.reduce((sum, each) => sum + each.adopted, 0);
  const versions = partitions.map(({ version }) => version).join(", ");
  const name = MODEL_NAMES[first.origin] ?? first.origin;
  return (
    <p class="lead radio-model">
      Radio model: {same ? `${name}, version ${first.version}` : `by partition, versions ${versions}`}.{" "}
      {fits === 0
        ? "No fit made yet."
        : `${whole(fits)} ${fits === 1 ? "fit" : "fits"} made, ${whole(adopted)} adopted.`}
    </p>
  );
}
