/** The panel beside the map: figures, tabs, lists. All that is on the map is in here as text. */

import { useModel, type Tab } from "../model";
import { whole } from "../text";
import { Beacons } from "./beacons";
import { Gateways } from "./gateways";
import { Things } from "./things";
import { Zones } from "./zones";

const TABS: { id: Tab; name: string }[] = [
  { id: "things", name: "Things" },
  { id: "zones", name: "Zones" },
  { id: "gateways", name: "Gateways" },
  { id: "beacons", name: "Beacons" },
];

export function Panel() {
  const model = useModel();
  const tab = model.tab.value;
  const move = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? TABS.length - 1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const next = TABS[(TABS.findIndex(({ id }) => id === tab) + step) % TABS.length]!;
    model.tab.value = next.id;
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  return (
    <aside class="panel" aria-label="Lists">
      <Figures />
      <div class="tabs" role="tablist" aria-label="Lists" onKeyDown={move}>
        {TABS.map(({ id, name }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            aria-selected={id === tab}
            aria-controls="tab-panel"
            tabIndex={id === tab ? 0 : -1}
            onClick={() => (model.tab.value = id)}
          >
            {name}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === "things" && <Things />}
        {tab === "zones" && <Zones />}
        {tab === "gateways" && <Gateways />}
        {tab === "beacons" && <Beacons />}
      </div>
    </aside>
  );
}

function Figures() {
  const model = useModel();
  void [model.beat.value, model.lost.value];
  const total = model.hello.value?.trackables.length ?? 0;
  const healths = [...model.gateways.value.values()];
  const online = healths.filter(({ state }) => state === "online").length;
  return (
    <dl class="figures-row">
      <div>
        <dt>Located</dt>
        <dd>
          {whole(Math.max(0, model.tags.located - model.tags.lost.size))}
          <small> of {whole(total)}</small>
        </dd>
      </div>
      <div>
        <dt>
          Gateways<span class="hidden"> online</span>
        </dt>
        <dd>
          {online}
          <small> of {healths.length}</small>
        </dd>
      </div>
      <div>
        <dt>Fixes a second</dt>
        <dd>{model.stale.value ? "–" : whole(model.rate)}</dd>
      </div>
    </dl>
  );
}
