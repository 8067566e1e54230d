/** The map in its frame: canvases, floor tabs, controls, legend, banner. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { GatewayGlyph, Icon, KindGlyph } from "../glyphs";
import type { GatewayState } from "../live/protocol";
import { LAYERS, useModel, type Layer } from "../model";
import { Banner } from "../panel/status";
import { GATEWAY_NAMES, KIND_NAMES } from "../text";
import { FloorMap } from "./floor-map";

/** Where there is room for the legend in one line; as in the style sheet. */
const WIDE = "(min-width: 1101px)";

const LAYER_NAMES: Record<Layer, string> = {
  zones: "Zones",
  names: "Names",
  gateways: "Gateways",
  uncertainty: "Uncertainty",
  trails: "Trails",
};

export function MapView() {
  const model = useModel();
  const frame = useRef<HTMLDivElement>(null);
  const ground = useRef<HTMLCanvasElement>(null);
  const live = useRef<HTMLCanvasElement>(null);
  const map = useRef<FloorMap | null>(null);
  const bar = useSignal<{ metres: number; pixels: number } | null>(null);

  useEffect(() => {
    const made = new FloorMap(frame.current!, ground.current!, live.current!, model);
    made.onScale = (metres, pixels) => (bar.value = { metres, pixels });
    map.current = made;
    return () => made.destroy();
  }, [model]);

  return (
    <div class="map-frame">
      <div
        class="map"
        ref={frame}
        tabIndex={0}
        role="region"
        aria-label="Floor map"
        aria-describedby="map-help"
        data-stale={String(model.stale.value)}
      >
        <canvas ref={ground} aria-hidden="true" />
        <canvas ref={live} aria-hidden="true" />
      </div>
      <p id="map-help" class="hidden">
        Arrow keys pan, plus and minus zoom, 0 shows the whole floor, Escape clears the choice. All
        that is on the map is also in the lists beside it.
      </p>
      <FloorTabs />
      <Banner />
      <div class="controls">
        <LayersMenu />
        <div class="stack" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom in" onClick={() => map.current?.step(0, 0, 1.6)}>
            <Icon name="plus" />
          </button>
          <button type="button" aria-label="Zoom out" onClick={() => map.current?.step(0, 0, 1 / 1.6)}>
            <Icon name="minus" />
          </button>
          <button
            type="button"
            aria-label="Show the whole floor"
            onClick={() => map.current?.fitAll()}
          >
            <Icon name="fit" />
          </button>
        </div>
      </div>
      <div class="foot">
        <Legend />
        {bar.value !== null && (
          <div class="scale" aria-hidden="true">
            <span style={{ width: `${bar.value.pixels}px` }} />
            {bar.value.metres} m
          </div>
        )}
      </div>
      {model.trouble.value !== "" && model.site.value === null && (
        <p class="trouble" role="alert">
          {model.trouble.value}
        </p>
      )}
    </div>
  );
}

function FloorTabs() {
  const model = useModel();
  const floors = model.floors.value;
  if (floors.length < 2) return null;
  return (
    <div class="floors" role="group" aria-label="Floor">
      {floors.map((floor) => (
        <button
          key={floor.id}
          type="button"
          aria-pressed={floor.id === model.floor.value}
          onClick={() => {
            model.following.value = false;
            model.floor.value = floor.id;
          }}
        >
          {floor.name}
        </button>
      ))}
    </div>
  );
}

function LayersMenu() {
  const model = useModel();
  const open = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open.value) return undefined;
    const away = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) open.value = false;
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [open.value]);
  return (
    <div
      class="layers"
      ref={root}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open.value) return;
        open.value = false;
        root.current?.querySelector("button")?.focus();
      }}
    >
      <button
        type="button"
        class="single"
        aria-label="Layers"
        aria-expanded={open.value}
        aria-controls="layers-menu"
        onClick={() => (open.value = !open.value)}
      >
        <Icon name="layers" />
      </button>
      <div id="layers-menu" class="menu" hidden={!open.value}>
        <fieldset>
          <legend>Layers</legend>
          {LAYERS.map((layer) => (
            <label key={layer}>
              <input
                type="checkbox"
                checked={model.layers.value[layer]}
                onChange={() => model.toggleLayer(layer)}
              />
              {LAYER_NAMES[layer]}
            </label>
          ))}
        </fieldset>
      </div>
    </div>
  );
}

function Legend() {
  const model = useModel();
  const states = new Set<GatewayState>(
    [...model.gateways.value.values()].map((gateway) => gateway.state),
  );
  const suspect = [...model.gateways.value.values()].some((gateway) => gateway.suspect);
  const shown = (["online", "late", "offline", "unknown"] as const).filter((s) => states.has(s));
  const wide = useSignal(window.matchMedia(WIDE).matches);
  useEffect(() => {
    const query = window.matchMedia(WIDE);
    const change = (): void => void (wide.value = query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  return (
    <details class="legend" open={wide.value}>
      <summary>Legend</summary>
      <ul>
        {[...model.kinds.value.keys()].map((kind) => (
          <li key={kind}>
            <KindGlyph kind={kind} />
            {KIND_NAMES[kind].one}
          </li>
        ))}
        {model.layers.value.gateways &&
          shown.map((state) => (
            <li key={state}>
              <GatewayGlyph state={state} />
              {shown[0] === state && "Gateway "}
              {GATEWAY_NAMES[state].toLowerCase()}
            </li>
          ))}
        {model.layers.value.gateways && suspect && (
          <li>
            <GatewayGlyph state="online" suspect />
            suspect
          </li>
        )}
        <li class="fades">
          <svg viewBox="0 0 34 16" width="34" height="16" aria-hidden="true">
            <rect x="1" y="4" width="8" height="8" />
            <rect x="13" y="4" width="8" height="8" opacity="0.5" />
            <rect x="25" y="4" width="8" height="8" opacity="0.22" />
          </svg>
          now, 15 s, 1 min ago
        </li>
        {model.lost.value.size > 0 && (
          <li>
            <KindGlyph kind="picker" lost />
            lost
          </li>
        )}
      </ul>
    </details>
  );
}
