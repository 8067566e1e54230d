/** What is chosen, in figures: a thing, a gateway or a zone. */

import type { ComponentChildren } from "preact";

import type { Gateway, ZoneOccupancy } from "../api";
import { GatewayGlyph, Icon, KindGlyph } from "../glyphs";
import { KINDS } from "../live/tags";
import { useModel, type Selection } from "../model";
import { ago, capital, GATEWAY_NAMES, KIND_NAMES, sentence, signed, since, suspicion, whole } from "../text";
import { usePolled } from "./poll";

export function Card() {
  const model = useModel();
  const chosen = model.selection.value;
  if (chosen === null) return null;
  if (chosen.what === "thing") return <ThingCard key={chosen.id} chosen={chosen} />;
  if (chosen.what === "gateway") return <GatewayCard key={chosen.id} chosen={chosen} />;
  return <ZoneCard key={chosen.id} chosen={chosen} />;
}

interface FrameProps {
  glyph: ComponentChildren;
  title: string;
  under: string;
  children: ComponentChildren;
}

function Frame({ glyph, title, under, children }: FrameProps) {
  const model = useModel();
  return (
    <section class="card" aria-label={`Chosen: ${title}`}>
      <div class="head">
        {glyph}
        <div class="text">
          <h2>{title}</h2>
          <p class="meta">{under}</p>
        </div>
        <button type="button" class="bare" aria-label="Clear the choice" onClick={() => model.select(null)}>
          <Icon name="close" />
        </button>
      </div>
      {children}
    </section>
  );
}

function Figure({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** What is the matter, with a sign that does not need its colour. */
function Alarm({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="alarm">
      <Icon name="warning" />
      <p>
        <strong>{title}.</strong> {children}
      </p>
    </div>
  );
}

function ThingCard({ chosen }: { chosen: Selection }) {
  const model = useModel();
  void model.beat.value;
  const row = model.rows.value.get(chosen.id);
  const named = row === undefined ? undefined : model.hello.value?.trackables[row];
  if (row === undefined || named === undefined) {
    if (model.hello.value === null) return null;
    return (
      <Frame glyph={null} title={chosen.id} under="Not in this site">
        {null}
      </Frame>
    );
  }
  const { tags } = model;
  const age = model.age(row);
  const floorId = model.hello.value?.floors[tags.floor[row]!];
  const floor = model.floors.value.find(({ id }) => id === floorId);
  const lost = model.lostSince(row);
  const following = model.following.value;
  return (
    <Frame
      glyph={<KindGlyph kind={named.kind} lost={lost !== null} />}
      title={named.name}
      under={[KIND_NAMES[named.kind].one, named.sku && `SKU ${named.sku}`, named.id]
        .filter((part) => part && part !== named.name)
        .join(" · ")}
    >
      {age === null ? (
        <p class="nothing">It has not been heard yet.</p>
      ) : (
        <>
          {lost !== null && (
            <Alarm title={capital(lost)}>
              No gateway has heard it for {since(age)}. This is where it was last.
            </Alarm>
          )}
          <dl class="facts">
            <Figure name={lost === null ? "Zone" : "Last zone"}>{model.zoneName(row) ?? "None"}</Figure>
            <Figure name="Last seen">{ago(age)}</Figure>
            <Figure name="Position">
              {tags.x[row]!.toFixed(1)}, {tags.y[row]!.toFixed(1)} m
            </Figure>
            <Figure name="Accuracy">± {tags.accuracy[row]!.toFixed(1)} m</Figure>
            <Figure name="Speed">{lost === null ? `${tags.speed[row]!.toFixed(1)} m/s` : "–"}</Figure>
            <Figure name="Floor">{floor?.name ?? floorId}</Figure>
          </dl>
          <div class="actions">
            <button
              type="button"
              class={following ? "strong" : "quiet"}
              aria-pressed={following}
              onClick={() => {
                if (following) model.following.value = false;
                else model.flight.value = { to: chosen, follow: true };
              }}
            >
              <Icon name="follow" />
              {following ? "Following" : "Follow"}
            </button>
          </div>
        </>
      )}
    </Frame>
  );
}

function GatewayCard({ chosen }: { chosen: Selection }) {
  const polled = usePolled<{ gateways: Gateway[] }>("gateways", 2000);
  const gateway = polled.data.value?.gateways.find(({ id }) => id === chosen.id);
  if (gateway === undefined) {
    if (polled.data.value === null) return null;
    return (
      <Frame glyph={null} title={chosen.id} under="Not in this site">
        {null}
      </Frame>
    );
  }
  return (
    <Frame
      glyph={<GatewayGlyph state={gateway.state} suspect={gateway.suspect !== null} />}
      title={gateway.id}
      under={`${GATEWAY_NAMES[gateway.state]}: ${gateway.reason}`}
    >
      {gateway.suspect !== null && (
        <Alarm title={suspicion(gateway.suspect)}>{sentence(gateway.suspect_text)}</Alarm>
      )}
      <dl class="facts">
        <Figure name="Last heard">{gateway.age_s === null ? "Never" : ago(gateway.age_s)}</Figure>
        <Figure name="Readings a second">{whole(gateway.rate)}</Figure>
        <Figure name="Batches missing">{whole(gateway.missing)}</Figure>
        <Figure name="Levels off by">
          {gateway.residual_db === null ? "–" : `${signed(gateway.residual_db)} dB`}
        </Figure>
        <Figure name="Adverts heard">
          {gateway.hears === null ? "–" : `${Math.round(100 * gateway.hears)} %`}
        </Figure>
        <Figure name="Scanner">{gateway.scanner || "–"}</Figure>
        <Figure name="Software">{gateway.version || "–"}</Figure>
        <Figure name="Position">
          {gateway.position.map((metres) => metres.toFixed(1)).join(", ")} m
        </Figure>
      </dl>
    </Frame>
  );
}

function ZoneCard({ chosen }: { chosen: Selection }) {
  const polled = usePolled<{ zones: ZoneOccupancy[] }>("zones", 2000);
  const model = useModel();
  const zone = polled.data.value?.zones.find(({ id }) => id === chosen.id);
  if (zone === undefined) return null;
  const floor = model.floors.value.find(({ id }) => id === zone.floor);
  return (
    <Frame glyph={null} title={zone.name} under={`Zone · ${zone.kind} · ${floor?.name ?? zone.floor}`}>
      <dl class="facts">
        <Figure name="In it now">{whole(zone.total)}</Figure>
        {KINDS.filter((kind) => zone.by_kind[kind]).map((kind) => (
          <Figure key={kind} name={KIND_NAMES[kind].many}>
            {whole(zone.by_kind[kind]!)}
          </Figure>
        ))}
      </dl>
    </Frame>
  );
}
