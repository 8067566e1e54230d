/**
 * What the page knows and shows, as signals: the feed's news, what is chosen, what is drawn.
 * Positions are not signals: they change too often, and live in `tags`.
 */

import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";

import { ApiError, getSite, liveAddress, type Point, type SiteDocument } from "./api";
import { Feed, type Connection } from "./live/feed";
import type { Frame, GatewayHealth, Hello, Kind, Message } from "./live/protocol";
import { KINDS, Tags } from "./live/tags";
import { moment } from "./text";

/** Without a frame for this long the feed is stale, in milliseconds. */
const STALE_MS = 3000;
/**
 * A snapshot whose tick is older than this is what was, not news, in seconds: ticks come when the
 * watermark has passed them, which takes one or two.
 */
const FRESH_S = 5;
/** The server's header has whole seconds and may be one or two old: less is no skew, in seconds. */
const SAME_CLOCK_S = 5;
/** How often figures and ages are brought up to date, in milliseconds. */
const BEAT_MS = 1000;
const WATCH_MS = 250;
/** A thing whose last fix is older than this has not been heard lately, in seconds. */
export const RECENT_S = 15;
export const OLD_S = 60;

export type Selection = { what: "thing" | "gateway" | "zone"; id: string };
export type Tab = "things" | "zones" | "gateways" | "beacons";
export const LAYERS = ["zones", "names", "gateways", "uncertainty", "trails"] as const;
export type Layer = (typeof LAYERS)[number];
export type Floor = SiteDocument["floors"][number];

/** Where the map is asked to go; the map clears it when it is on its way. */
export interface Flight {
  to: Selection;
  follow: boolean;
}

const LAYERS_KEY = "balise.layers";
const DEFAULT_LAYERS: Record<Layer, boolean> = {
  zones: true,
  names: true,
  gateways: true,
  uncertainty: false,
  trails: true,
};

export class Model {
  readonly connection = signal<Connection>("connecting");
  /** The sentence to show when there is nothing to show. */
  readonly trouble = signal("");
  readonly stale = signal(false);
  /** Rises once a second, for what shows ages and clocks. */
  readonly beat = signal(0);
  readonly site = signal<SiteDocument | null>(null);
  readonly hello = signal<Hello | null>(null);
  readonly gateways = signal<ReadonlyMap<string, GatewayHealth>>(new Map());
  readonly occupancy = signal<ReadonlyMap<string, number>>(new Map());
  readonly floor: Signal<string | null>;
  readonly selection: Signal<Selection | null>;
  readonly following = signal(false);
  readonly flight = signal<Flight | null>(null);
  readonly tab = signal<Tab>("things");
  readonly hiddenKinds = signal<ReadonlySet<Kind>>(new Set());
  /** Rows of the lost, as in `tags`. */
  readonly lost = signal<ReadonlySet<number>>(new Set());
  readonly lostHidden = signal(false);
  readonly layers = signal<Record<Layer, boolean>>(storedLayers());
  readonly notice = signal("");

  readonly rows: ReadonlySignal<ReadonlyMap<string, number>> = computed(
    () => new Map(this.hello.value?.trackables.map((named, row) => [named.id, row])),
  );
  readonly floors: ReadonlySignal<Floor[]> = computed(() =>
    [...(this.site.value?.floors ?? [])].sort((a, b) => b.level - a.level),
  );
  /** Kinds that the site has, in order of listing. */
  readonly kinds: ReadonlySignal<Map<Kind, number>> = computed(() => {
    const counts = new Map<Kind, number>();
    for (const { kind } of this.hello.value?.trackables ?? []) {
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
    return new Map(KINDS.filter((kind) => counts.has(kind)).map((kind) => [kind, counts.get(kind)!]));
  });

  /** Says when something was, by the site's clock. */
  readonly moment = computed(() => moment(this.site.value?.timezone ?? "UTC"));

  tags = new Tags({ origin: [0, 0], trackables: [] });
  sequence = -1;
  frames = 0;
  /** Fixes a second, smoothed. */
  rate = 0;
  /** The last tick's end, Unix seconds, 0 before the first. */
  feedTime = 0;

  /** When the last news came, in milliseconds of `performance.now()`. */
  private arrival = -Infinity;
  /** Whether the last frame was a tick's, not a snapshot. */
  private running = false;
  /** The server's clock less the browser's, seconds. */
  private skew = 0;
  private siteVersion = -1;
  private readonly begun = performance.now();
  private readonly watchers = new Set<() => void>();
  private readonly calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  private fixesSince = 0;
  private lastBeat = performance.now();

  constructor() {
    const query = new URLSearchParams(location.search);
    this.floor = signal(query.get("floor"));
    this.selection = signal(chosen(query));
    const first = this.selection.value;
    if (first !== null) this.flight.value = { to: first, follow: first.what === "thing" };
    effect(() => writeAddress(this.floor.value, this.selection.value, this.floors.value));
    effect(() => storeLayers(this.layers.value));
    window.addEventListener("popstate", () => {
      const now = new URLSearchParams(location.search);
      this.floor.value = now.get("floor");
      this.selection.value = chosen(now);
    });
  }

  start(): void {
    new Feed(liveAddress(), {
      hello: (hello) => void this.greet(hello),
      frame: (frame) => this.take(frame),
      message: (message) => this.hear(message),
      connection: (state) => (this.connection.value = state),
    }).start();
    window.setInterval(() => this.watch(), WATCH_MS);
  }

  /** Calls `drawn` whenever positions have changed. */
  onPositions(changed: () => void): () => void {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  }

  get reducedMotion(): boolean {
    return this.calm.matches;
  }

  /** The server's clock, Unix seconds; the browser's own may be wrong. */
  clock(): number {
    return Date.now() / 1000 + this.skew;
  }

  /**
   * The time that ages are counted from, Unix seconds: the last tick's end and what has passed
   * since it came. What came with a snapshot may be old, so there it is the clock.
   */
  now(): number {
    if (!this.running) return Math.max(this.clock(), this.feedTime);
    return this.feedTime + (performance.now() - this.arrival) / 1000;
  }

  /** Seconds since the trackable's fix, or null without one. */
  age(row: number): number | null {
    return this.tags.isLocated(row) ? Math.max(0, this.now() - this.tags.t[row]!) : null;
  }

  select(selection: Selection | null, options: { fly?: boolean; follow?: boolean } = {}): void {
    batch(() => {
      this.selection.value = selection;
      this.following.value = false;
      if (selection === null) this.flight.value = null;
      else if (options.fly) this.flight.value = { to: selection, follow: options.follow ?? false };
    });
  }

  toggleKind(kind: Kind): void {
    const hidden = new Set(this.hiddenKinds.value);
    if (!hidden.delete(kind)) hidden.add(kind);
    this.hiddenKinds.value = hidden;
  }

  toggleLayer(layer: Layer): void {
    this.layers.value = { ...this.layers.value, [layer]: !this.layers.value[layer] };
  }

  /** `lost since 14:32` for those that are lost, else null. */
  lostSince(row: number): string | null {
    if (!this.tags.lost.has(row)) return null;
    return `lost since ${this.moment.value(this.tags.t[row]!, this.now())}`;
  }

  zoneName(row: number): string | null {
    const id = this.hello.value?.zones[this.tags.zone[row] ?? -1];
    if (id === undefined) return null;
    return this.site.value?.zones?.find((zone) => zone.id === id)?.name ?? id;
  }

  private async greet(hello: Hello): Promise<void> {
    const same = this.hello.value?.site_version === hello.site_version;
    batch(() => {
      if (!same || this.tags.size !== hello.trackables.length) this.tags = new Tags(hello);
      this.hello.value = hello;
      this.lost.value = this.tags.lost;
    });
    if (this.siteVersion !== hello.site_version) await this.fetchSite(hello.site_version);
  }

  private async fetchSite(version: number): Promise<void> {
    try {
      const { site, serverTime } = await getSite();
      const skew = serverTime - Date.now() / 1000;
      this.skew = Math.abs(skew) < SAME_CLOCK_S ? 0 : skew;
      this.siteVersion = version;
      batch(() => {
        this.site.value = site;
        this.trouble.value = "";
        if (!site.floors.some((floor) => floor.id === this.floor.value)) {
          this.floor.value = lowest(site.floors)?.id ?? null;
        }
      });
    } catch (error) {
      this.trouble.value = error instanceof ApiError ? error.message : String(error);
    }
  }

  private take(frame: Frame): void {
    const now = performance.now();
    this.tags.apply(frame, now, !this.reducedMotion && document.visibilityState === "visible");
    this.lost.value = this.tags.lost;
    this.sequence = frame.sequence;
    this.frames++;
    this.feedTime = frame.t;
    this.running = !frame.snapshot;
    if (!frame.snapshot) this.fixesSince += frame.count;
    if (!frame.snapshot || this.clock() - frame.t < FRESH_S) {
      this.arrival = now;
      this.stale.value = false;
    }
    for (const changed of this.watchers) changed();
  }

  private hear(message: Message): void {
    if (message.type === "gateways") {
      this.gateways.value = new Map(message.gateways.map((gateway) => [gateway.id, gateway]));
    } else if (message.type === "zones") {
      const ids = this.hello.value?.zones ?? [];
      this.occupancy.value = new Map(ids.map((id, row) => [id, message.counts[row] ?? 0]));
    } else if (message.type === "lost") {
      this.tags.lose(message.rows);
      this.lost.value = this.tags.lost;
    }
  }

  private watch(): void {
    const now = performance.now();
    const stale = now - Math.max(this.arrival, this.begun) > STALE_MS;
    // Without a greeting there may be no site yet; the API says what to do about that.
    if (stale && !this.stale.value && this.hello.value === null) void this.fetchSite(-1);
    this.stale.value = stale;
    const passed = now - this.lastBeat;
    if (passed < BEAT_MS) return;
    this.rate += (this.fixesSince / (passed / 1000) - this.rate) * (this.rate === 0 ? 1 : 0.3);
    this.fixesSince = 0;
    this.lastBeat = now;
    this.beat.value++;
  }
}

export const ModelContext = createContext<Model | null>(null);

export function useModel(): Model {
  const model = useContext(ModelContext);
  if (model === null) throw new Error("there is no model around this component");
  return model;
}

/** A polygon's box as least x, least y, most x, most y. */
export function boxOf(points: readonly Point[]): [number, number, number, number] {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

function lowest(floors: Floor[]): Floor | undefined {
  // The ground floor when there is one, because that is where most of a warehouse is.
  return floors.find((floor) => floor.level === 0) ?? [...floors].sort((a, b) => a.level - b.level)[0];
}

function chosen(query: URLSearchParams): Selection | null {
  for (const what of ["thing", "gateway", "zone"] as const) {
    const id = query.get(what);
    if (id) return { what, id };
  }
  return null;
}

function writeAddress(floor: string | null, selection: Selection | null, floors: Floor[]): void {
  const query = new URLSearchParams();
  if (floor !== null && floors.length !== 1) query.set("floor", floor);
  if (selection !== null) query.set(selection.what, selection.id);
  const text = query.toString();
  const url = text === "" ? location.pathname : `${location.pathname}?${text}`;
  if (url !== location.pathname + location.search) history.replaceState(null, "", url);
}

function storedLayers(): Record<Layer, boolean> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(LAYERS_KEY) ?? "{}");
    if (typeof stored !== "object" || stored === null) return DEFAULT_LAYERS;
    const entries = LAYERS.map((layer) => {
      const kept = (stored as Record<string, unknown>)[layer];
      return [layer, typeof kept === "boolean" ? kept : DEFAULT_LAYERS[layer]];
    });
    return Object.fromEntries(entries) as Record<Layer, boolean>;
  } catch {
    return DEFAULT_LAYERS;
  }
}

function storeLayers(layers: Record<Layer, boolean>): void {
  try {
    localStorage.setItem(LAYERS_KEY, JSON.stringify(layers));
  } catch {
    // Storage may be forbidden; the choice then lasts until the page is closed.
  }
}
