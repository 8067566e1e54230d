/** The search box: finds trackables on the server, flies to the one chosen and follows it. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { ApiError, get, type Trackable } from "../api";
import { Icon, KindGlyph } from "../glyphs";
import { useModel, type Model } from "../model";
import { ago } from "../text";

/** Typing waits this long before it asks, milliseconds. */
const PAUSE_MS = 120;
const MOST = 12;

export function Search() {
  const model = useModel();
  const text = useSignal("");
  const found = useSignal<Trackable[] | null>(null);
  const trouble = useSignal("");
  const active = useSignal(0);
  const open = useSignal(false);
  const input = useRef<HTMLInputElement>(null);

  useEffect(() => {
    const focus = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const typing = target.matches("input, select, textarea") || target.isContentEditable;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    document.addEventListener("keydown", focus);
    return () => document.removeEventListener("keydown", focus);
  }, []);

  useEffect(() => {
    const wanted = text.value.trim();
    if (wanted === "") {
      found.value = null;
      trouble.value = "";
      return undefined;
    }
    const stop = new AbortController();
    const timer = window.setTimeout(async () => {
      try {
        const query = new URLSearchParams({ q: wanted, limit: String(MOST) });
        const answer = await get<{ trackables: Trackable[] }>(`trackables?${query}`, stop.signal);
        found.value = answer.trackables;
        trouble.value = "";
        active.value = 0;
      } catch (error) {
        if (stop.signal.aborted) return;
        found.value = [];
        trouble.value = error instanceof ApiError ? error.message : String(error);
      }
    }, PAUSE_MS);
    return () => {
      window.clearTimeout(timer);
      stop.abort();
    };
  }, [text.value]);

  const choose = (item: Trackable): void => {
    model.select({ what: "thing", id: item.id }, { fly: true, follow: true });
    open.value = false;
    text.value = "";
    input.current?.blur();
    document.querySelector<HTMLElement>(".map")?.focus({ preventScroll: true });
  };

  const items = found.value ?? [];
  const shown = open.value && found.value !== null;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : items.length - 1;
      if (items.length > 0) active.value = (active.value + step) % items.length;
    } else if (event.key === "Enter") {
      const item = items[active.value];
      if (shown && item) choose(item);
    } else if (event.key === "Escape") {
      text.value = "";
      input.current?.blur();
    }
  };

  return (
    <search class="search">
      <Icon name="search" />
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label="Search items, people and carts"
        aria-expanded={shown}
        aria-controls="search-results"
        aria-autocomplete="list"
        aria-activedescendant={shown && items.length > 0 ? `found-${active.value}` : undefined}
        placeholder="Search by name, id or SKU"
        autocomplete="off"
        spellcheck={false}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          open.value = true;
        }}
        onFocus={() => (open.value = true)}
        onBlur={() => (open.value = false)}
        onKeyDown={onKeyDown}
      />
      <kbd aria-hidden="true">/</kbd>
      <div class="found" hidden={!shown}>
        <ul id="search-results" role="listbox" aria-label="Found">
          {items.map((item, i) => (
            <li
              key={item.id}
              id={`found-${i}`}
              role="option"
              aria-selected={i === active.value}
              onPointerDown={(event) => {
                // Before the box loses focus and the list is gone.
                event.preventDefault();
                choose(item);
              }}
              onPointerMove={() => (active.value = i)}
            >
              <KindGlyph kind={item.kind} lost={item.position?.lost ?? false} />
              <span class="name">{item.name}</span>
              <span class="meta">
                {lastHeard(model, item)}
              </span>
              {item.sku && <span class="sku">{item.sku}</span>}
            </li>
          ))}
        </ul>
        {items.length === 0 && (
          <p class="nothing" role="status">
            {trouble.value || `Nothing is called “${text.value.trim()}”.`}
          </p>
        )}
      </div>
    </search>
  );
}

function lastHeard(model: Model, { position }: Trackable): string {
  if (position === null) return "not yet heard";
  if (!position.lost) return ago(position.age_s);
  return `lost since ${model.moment.value(position.t, model.now())}`;
}
