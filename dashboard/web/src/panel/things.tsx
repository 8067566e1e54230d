/** The list of all that is followed, by kind and name; choosing one shows it on the map. */

import { useComputed } from "@preact/signals";

import { KindGlyph } from "../glyphs";
import { KINDS } from "../live/tags";
import { OLD_S, RECENT_S, useModel, type Model } from "../model";
import { capital, KIND_NAMES, since, whole } from "../text";
import { WindowList } from "./window-list";

/** In the place of a row: the heading above the lost. */
const HEADING = -1;

const byName = new Intl.Collator("en", { numeric: true }).compare;

export function Things() {
  const model = useModel();
  void model.beat.value;
  const sorted = useComputed(() => sortedRows(model));
  const rows = useComputed(() => {
    const hidden = model.hiddenKinds.value;
    const lost = model.lost.value;
    const named = model.hello.value?.trackables ?? [];
    const shown = sorted.value.filter((row) => !hidden.has(named[row]!.kind));
    if (lost.size === 0) return shown;
    const there = shown.filter((row) => !lost.has(row));
    const gone = model.lostHidden.value ? [] : shown.filter((row) => lost.has(row));
    return gone.length === 0 ? there : [...there, HEADING, ...gone];
  });
  const lost = model.lost.value.size;
  const chosen = model.selection.value;
  const chosenRow = chosen?.what === "thing" ? model.rows.value.get(chosen.id) : undefined;
  const place = chosenRow === undefined ? -1 : rows.value.indexOf(chosenRow);
  return (
    <>
      <div class="chips">
        <div role="group" aria-label="Kinds shown">
          {[...model.kinds.value].map(([kind, count]) => (
            <button
              key={kind}
              type="button"
              aria-pressed={!model.hiddenKinds.value.has(kind)}
              onClick={() => model.toggleKind(kind)}
            >
              <KindGlyph kind={kind} />
              {KIND_NAMES[kind].many} <span class="count">{whole(count)}</span>
            </button>
          ))}
        </div>
        {lost > 0 && (
          <button
            type="button"
            aria-pressed={!model.lostHidden.value}
            title="Unheard for too long; shown where they were last"
            onClick={() => (model.lostHidden.value = !model.lostHidden.value)}
          >
            <KindGlyph kind="item" lost />
            Lost <span class="count">{whole(lost)}</span>
          </button>
        )}
      </div>
      {rows.value.length === 0 ? (
        <p class="nothing">
          {model.hello.value === null
            ? "Waiting for the site."
            : model.kinds.value.size === 0
              ? "Nothing is followed yet. Adopt a beacon to begin."
              : "All that there is, is hidden."}
        </p>
      ) : (
        <WindowList
          label="Things"
          count={rows.value.length}
          reveal={place < 0 ? null : place}
          render={(index) => {
            const row = rows.value[index]!;
            if (row === HEADING) return <h2 class="divider">Lost: where they were last</h2>;
            return <Thing row={row} chosen={index === place} />;
          }}
        />
      )}
    </>
  );
}

function Thing({ row, chosen }: { row: number; chosen: boolean }) {
  const model = useModel();
  void model.beat.value;
  const named = model.hello.value?.trackables[row];
  if (named === undefined) return null;
  const age = model.age(row);
  const lost = model.lostSince(row);
  const fresh = age === null ? "never" : age < RECENT_S ? "recent" : age < OLD_S ? "older" : "old";
  return (
    <button
      type="button"
      class="row"
      aria-current={chosen ? "true" : undefined}
      onClick={() => {
        model.select({ what: "thing", id: named.id }, { fly: true, follow: true });
      }}
    >
      <KindGlyph kind={named.kind} lost={lost !== null} />
      <span class="text">
        <span class="name">{named.name}</span>
        <span class="meta">
          {lost !== null && `${capital(lost)} · `}
          {placeOf(model, row)}
        </span>
      </span>
      <span class={`age ${fresh}`}>{age === null ? "" : since(age)}</span>
    </button>
  );
}

function placeOf(model: Model, row: number): string {
  if (!model.tags.isLocated(row)) return "Not yet heard";
  const zone = model.zoneName(row) ?? "No zone";
  const site = model.site.value;
  if (site === null || site.floors.length < 2) return zone;
  const id = model.hello.value?.floors[model.tags.floor[row]!];
  return `${zone}, ${site.floors.find((floor) => floor.id === id)?.name ?? ""}`;
}

function sortedRows(model: Model): number[] {
  const named = model.hello.value?.trackables ?? [];
  const rows = named.map((_, row) => row);
  return rows.sort((a, b) => {
    const one = named[a]!;
    const other = named[b]!;
    return KINDS.indexOf(one.kind) - KINDS.indexOf(other.kind) || byName(one.name, other.name);
  });
}
