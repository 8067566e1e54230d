/** Beacons that belong to nothing yet, and the form that adopts one. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { ApiError, post, type Trackable, type UnassignedBeacon } from "../api";
import type { Kind } from "../live/protocol";
import { KINDS } from "../live/tags";
import { useModel } from "../model";
import { ago, KIND_NAMES, whole } from "../text";
import { usePolled } from "./poll";

const EVERY_MS = 2000;
/** How long a word of success stays, milliseconds. */
const NOTICE_MS = 6000;

export function Beacons() {
  const model = useModel();
  const polled = usePolled<{ total: number; beacons: UnassignedBeacon[] }>(
    "beacons/unassigned",
    EVERY_MS,
  );
  const open = useSignal<string | null>(null);
  const { data, trouble, refresh } = polled;
  if (data.value === null) return <p class="nothing">{trouble.value || "Waiting for the beacons."}</p>;
  const { total, beacons } = data.value;
  if (beacons.length === 0) {
    return <p class="nothing">Every beacon that is heard belongs to something.</p>;
  }
  return (
    <div class="window plain">
      <p class="lead">
        {whole(total)} {total === 1 ? "beacon belongs" : "beacons belong"} to nothing yet. Hold one
        near a gateway and it rises to the top.
      </p>
      <ul aria-label="Unassigned beacons">
        {beacons.map((beacon) => (
          <li key={beacon.beacon} class="beacon">
            <div class="row still">
              <Strength rssi={beacon.rssi} />
              <span class="text">
                <span class="name mono" title={beacon.beacon}>
                  {beacon.beacon}
                </span>
                <span class="meta">
                  {Math.round(beacon.rssi)} dBm at {beacon.gateway}, {ago(Math.max(0, model.now() - beacon.t))}
                </span>
              </span>
              <button
                type="button"
                class="quiet"
                aria-expanded={open.value === beacon.beacon}
                aria-label={`Adopt ${beacon.beacon}`}
                onClick={() => (open.value = open.value === beacon.beacon ? null : beacon.beacon)}
              >
                Adopt
              </button>
            </div>
            {open.value === beacon.beacon && (
              <Adopt
                beacon={beacon.beacon}
                done={(made) => {
                  open.value = null;
                  refresh();
                  if (made === null) return;
                  const said = `“${made.name}” now wears this beacon.`;
                  model.notice.value = said;
                  window.setTimeout(() => {
                    if (model.notice.value === said) model.notice.value = "";
                  }, NOTICE_MS);
                  model.select({ what: "thing", id: made.id }, { fly: true, follow: true });
                }}
              />
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Signal as four bars: -90 dBm and less is one, -60 and more are four. */
function Strength({ rssi }: { rssi: number }) {
  const bars = Math.max(1, Math.min(4, Math.floor((rssi + 100) / 10)));
  return (
    <svg class="glyph strength" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      {[1, 2, 3, 4].map((n) => (
        <rect
          key={n}
          class={n <= bars ? "on" : "off"}
          x={3.6 * n - 2.8}
          y={14 - 3 * n}
          width="2.6"
          height={3 * n}
          rx="0.8"
        />
      ))}
    </svg>
  );
}

function Adopt({ beacon, done }: { beacon: string; done: (made: Trackable | null) => void }) {
  const name = useSignal("");
  const kind = useSignal<Kind>("item");
  const sku = useSignal("");
  const trouble = useSignal("");
  const busy = useSignal(false);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    trouble.value = "";
    const wanted = { name: name.value.trim(), kind: kind.value, beacons: [beacon] };
    const stock = kind.value === "item" && sku.value.trim() !== "" ? { sku: sku.value.trim() } : {};
    try {
      done(await post<Trackable>("trackables", { ...wanted, ...stock }));
    } catch (error) {
      trouble.value = error instanceof ApiError ? error.message : String(error);
      busy.value = false;
    }
  };

  return (
    <form
      class="adopt"
      onSubmit={(event) => void submit(event)}
      onKeyDown={(event) => {
        if (event.key === "Escape") done(null);
      }}
    >
      <label>
        Name
        <input
          ref={first}
          name="name"
          required
          maxLength={200}
          autocomplete="off"
          value={name.value}
          onInput={(event) => (name.value = event.currentTarget.value)}
        />
      </label>
      <label>
        Kind
        <select
          name="kind"
          value={kind.value}
          onChange={(event) => (kind.value = event.currentTarget.value as Kind)}
        >
          {[...KINDS].reverse().map((choice) => (
            <option key={choice} value={choice}>
              {KIND_NAMES[choice].one}
            </option>
          ))}
        </select>
      </label>
      {kind.value === "item" && (
        <label>
          SKU (optional)
          <input
            name="sku"
            maxLength={128}
            autocomplete="off"
            value={sku.value}
            onInput={(event) => (sku.value = event.currentTarget.value)}
          />
        </label>
      )}
      {trouble.value !== "" && (
        <p class="fault" role="alert">
          {trouble.value}
        </p>
      )}
      <div class="actions">
        <button type="submit" class="strong" disabled={busy.value}>
          Adopt this beacon
        </button>
        <button type="button" class="quiet" onClick={() => done(null)}>
          Cancel
        </button>
      </div>
    </form>
  );
}
