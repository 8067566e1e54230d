/**
 * The map: two canvases, one for the floor and one for what moves, painted only when something
 * has changed. It reads the model and tells it what was clicked.
 */

import { batch, effect, untracked } from "@preact/signals";

import { get, type TrackPoint } from "../api";
import { KINDS } from "../live/tags";
import { boxOf, type Model, type Selection } from "../model";
import { Camera } from "./camera";
import { paintGateway, type GatewayMark } from "./gateway-marks";
import { makeGround, paintGround, type Ground } from "./ground";
import { listen, type Movable } from "./hands";
import * as paint from "./paint";
import { readTheme, type Theme } from "./theme";
import { CLOSE, scaleBar, screenX, screenY, type Box } from "./view";

/** Beyond this a sharper canvas costs much and shows little. */
const MAX_RATIO = 2;
/** Frames that animate take at most this share of the time; the rest is the user's. */
const BUSY_SHARE = 0.4;
/**
 * With many tags in view they glide in fewer frames, because painting them costs more than what is
 * measured here: at 10,000 without a graphics card it is four times that. Tags, milliseconds.
 */
const CALMER = [
  { above: 5000, every: 120 },
  { above: 1500, every: 50 },
] as const;
const REACH_PX = { mouse: 14, touch: 26 };
/** A chosen thing's way is drawn for the last minutes, points. */
const MAX_TRACK = 600;

export class FloorMap implements Movable {
  /** Called after a paint with what changed rarely: the scale bar. */
  onScale: (metres: number, pixels: number) => void = () => undefined;

  private readonly camera = new Camera();
  private readonly visible = new paint.Visible();
  private readonly groundContext: CanvasRenderingContext2D;
  private readonly liveContext: CanvasRenderingContext2D;
  private ground: Ground | null = null;
  private gateways: GatewayMark[] = [];
  private theme: Theme;
  private ratio = 1;
  private groundStale = true;
  private request = 0;
  private paintedAt = 0;
  private cost = 0;
  private scaleShown = 0;
  private pointer: [number, number] | null = null;
  private track: { id: string; floor: number; t: number; points: number[] } | null = null;
  private readonly undo: (() => void)[] = [];

  constructor(
    private readonly element: HTMLElement,
    private readonly groundCanvas: HTMLCanvasElement,
    private readonly liveCanvas: HTMLCanvasElement,
    private readonly model: Model,
  ) {
    this.groundContext = groundCanvas.getContext("2d")!;
    this.liveContext = liveCanvas.getContext("2d")!;
    this.theme = readTheme(element);
    this.undo.push(listen(element, this), this.watchSize(), this.watchTheme(), ...this.watchModel());
  }

  destroy(): void {
    for (const stop of this.undo) stop();
    cancelAnimationFrame(this.request);
  }

  drag(dx: number, dy: number): void {
    this.model.following.value = false;
    this.camera.drag(dx, dy);
    this.moved();
  }

  zoom(px: number, py: number, factor: number): void {
    // Zooming keeps on following: about the followed thing instead of the pointer.
    if (this.model.following.value) {
      this.camera.zoom(this.camera.size.width / 2, this.camera.size.height / 2, factor);
    } else {
      this.camera.zoom(px, py, factor);
    }
    this.moved();
  }

  step(dx: number, dy: number, factor: number): void {
    if (dx !== 0 || dy !== 0) this.model.following.value = false;
    this.camera.step(dx, dy, factor, performance.now(), this.model.reducedMotion);
    this.moved();
  }

  fitAll(): void {
    this.model.following.value = false;
    this.camera.fitAll(performance.now(), this.model.reducedMotion);
    this.moved();
  }

  escape(): void {
    this.model.select(null);
  }

  click(px: number, py: number, touch: boolean): void {
    this.model.select(this.at(px, py, touch ? REACH_PX.touch : REACH_PX.mouse));
  }

  hover(px: number | null, py: number | null): void {
    this.pointer = px === null || py === null ? null : [px, py];
    const over = this.pointer && this.at(this.pointer[0], this.pointer[1], REACH_PX.mouse);
    this.element.classList.toggle("pointing", over !== null && over.what !== "zone");
    this.redraw();
  }

  private at(px: number, py: number, reach: number): Selection | null {
    const row = this.visible.nearest(px, py, reach, this.model.tags);
    if (row !== null) {
      const named = this.model.hello.value?.trackables[row];
      if (named) return { what: "thing", id: named.id };
    }
    const { view, size } = this.camera;
    if (this.model.layers.value.gateways) {
      for (const mark of this.gateways) {
        const dx = screenX(view, size, mark.x) - px;
        const dy = screenY(view, size, mark.y) - py;
        if (dx * dx + dy * dy <= reach * reach) return { what: "gateway", id: mark.id };
      }
    }
    return null;
  }

  private moved(): void {
    this.groundStale = true;
    this.redraw();
  }

  private redraw(): void {
    if (this.request === 0) this.request = requestAnimationFrame((now) => this.draw(now));
  }

  private draw(now: number): void {
    this.request = 0;
    if (this.camera.size.width === 0 || this.ground === null) return;
    const busy = this.camera.flying || this.groundStale;
    // On a slow machine tags glide in fewer frames, so that panning and typing stay quick.
    if (!busy && now - this.paintedAt < this.pause()) {
      this.redraw();
      return;
    }
    const began = performance.now();
    this.takeFlight(began);
    let more = this.camera.advance(began);
    if (more) this.groundStale = true;
    if (this.keepUp(began)) {
      this.groundStale = true;
      more = true;
    }
    if (this.groundStale) this.drawGround();
    this.drawLive(began);
    this.cost += (performance.now() - began - this.cost) * 0.2;
    this.paintedAt = now;
    if (more || this.model.tags.moving(began)) this.redraw();
  }

  /** How long the map rests between two frames of gliding tags, milliseconds. */
  private pause(): number {
    const calm = CALMER.find(({ above }) => this.visible.count > above)?.every ?? 0;
    return Math.max(this.cost / BUSY_SHARE - 4, calm);
  }

  private drawGround(): void {
    this.groundStale = false;
    const { view, size } = this.camera;
    const { layers, selection, occupancy } = this.model;
    const chosen = selection.value;
    paintGround(this.groundContext, this.ground!, {
      view,
      size,
      ratio: this.ratio,
      theme: this.theme,
      showZones: layers.value.zones,
      chosenZone: chosen?.what === "zone" ? chosen.id : null,
      occupancy: occupancy.value,
    });
    if (view.scale !== this.scaleShown) {
      this.scaleShown = view.scale;
      const metres = scaleBar(view.scale, 120);
      this.onScale(metres, metres * view.scale);
    }
  }

  private drawLive(now: number): void {
    const { model, liveContext: context } = this;
    const { tags } = model;
    const layers = model.layers.value;
    const scene: paint.Scene = {
      view: this.camera.view,
      size: this.camera.size,
      theme: this.theme,
      now,
      time: model.now(),
      floor: model.hello.value?.floors.indexOf(model.floor.value ?? "") ?? -1,
      hidden: new Set([...model.hiddenKinds.value].map((kind) => KINDS.indexOf(kind))),
      lostHidden: model.lostHidden.value,
    };
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, scene.size.width, scene.size.height);
    this.visible.gather(tags, scene);
    if (layers.gateways) this.drawGateways(scene);
    if (layers.uncertainty) paint.paintUncertainty(context, this.visible, tags, scene);
    const row = this.chosenRow();
    if (layers.trails) paint.paintTrails(context, tags, row, scene);
    if (row !== null) this.drawTrack(row, scene);
    paint.paintTags(context, this.visible, scene);
    if (layers.names) {
      const named = model.hello.value?.trackables ?? [];
      const nameOf = (r: number): string => named[r]?.name ?? "";
      const lostSince = (r: number): string | null => model.lostSince(r);
      paint.paintNames(context, this.visible, tags, nameOf, lostSince, row, scene);
    }
    this.drawHover(scene);
    if (row !== null) this.drawChosen(row, scene);
    const { dataset } = this.element;
    dataset["sequence"] = String(model.sequence);
    dataset["drawn"] = String(this.visible.count);
    dataset["lost"] = String(this.visible.ghosts);
  }

  private drawGateways(scene: paint.Scene): void {
    const chosen = this.model.selection.value;
    for (const mark of this.gateways) {
      const isChosen = chosen?.what === "gateway" && chosen.id === mark.id;
      paintGateway(this.liveContext, mark, scene, isChosen);
      if (isChosen) {
        const x = screenX(scene.view, scene.size, mark.x);
        const y = screenY(scene.view, scene.size, mark.y);
        paint.paintPlate(this.liveContext, mark.id, x, y, this.theme, true);
      }
    }
  }

  private drawHover(scene: paint.Scene): void {
    if (this.pointer === null) return;
    const over = this.at(this.pointer[0], this.pointer[1], REACH_PX.mouse);
    const chosen = this.model.selection.value;
    if (over === null || (over.what === chosen?.what && over.id === chosen.id)) return;
    if (over.what === "thing") {
      const row = this.model.rows.value.get(over.id)!;
      const name = this.plateOf(row);
      const x = screenX(scene.view, scene.size, this.model.tags.drawnX(row, scene.now));
      const y = screenY(scene.view, scene.size, this.model.tags.drawnY(row, scene.now));
      paint.paintPlate(this.liveContext, name, x, y, this.theme, false);
    } else {
      const mark = this.gateways.find((gateway) => gateway.id === over.id)!;
      const x = screenX(scene.view, scene.size, mark.x);
      const y = screenY(scene.view, scene.size, mark.y);
      paint.paintPlate(this.liveContext, mark.id, x, y, this.theme, false);
    }
  }

  private drawTrack(row: number, scene: paint.Scene): void {
    const { tags } = this.model;
    const { track } = this;
    if (track === null || track.floor !== scene.floor) return;
    // What came since the track was fetched continues it; its end is where the tag is drawn.
    if (tags.t[row]! > track.t && tags.floor[row] === track.floor) {
      track.t = tags.t[row]!;
      track.points.push(tags.x[row]!, tags.y[row]!);
      if (track.points.length > 2 * MAX_TRACK) track.points.splice(0, 2);
    }
    const shown = [...track.points.slice(0, -2), tags.drawnX(row, scene.now), tags.drawnY(row, scene.now)];
    paint.paintTrack(this.liveContext, shown, scene);
  }

  private drawChosen(row: number, scene: paint.Scene): void {
    const { tags } = this.model;
    if (tags.floor[row] !== scene.floor) return;
    const context = this.liveContext;
    const { view, size } = scene;
    const x = screenX(view, size, tags.drawnX(row, scene.now));
    const y = screenY(view, size, tags.drawnY(row, scene.now));
    const radius = Math.max(tags.accuracy[row]! * view.scale, 10);
    context.fillStyle = this.theme.select;
    context.strokeStyle = this.theme.select;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.globalAlpha = 0.1;
    context.fill();
    context.globalAlpha = 0.6;
    context.lineWidth = 1.25;
    context.stroke();
    context.globalAlpha = 1;
    const kind = tags.kind[row]!;
    const mark = paint.tagRadius(kind, view.scale, 0) + 1;
    context.beginPath();
    paint.addShape(context, kind, x, y, mark);
    context.lineWidth = 5;
    context.strokeStyle = this.theme.halo;
    context.stroke();
    const lost = tags.lost.has(row);
    context.fillStyle = lost ? this.theme.halo : this.theme.kinds[kind]!;
    context.fill();
    if (lost) {
      context.strokeStyle = this.theme.kinds[kind]!;
      context.lineWidth = 1.6;
      context.stroke();
    }
    context.beginPath();
    paint.addShape(context, kind, x, y, mark + 3.5);
    context.lineWidth = 2.25;
    context.strokeStyle = this.theme.select;
    context.stroke();
    paint.paintPlate(context, this.plateOf(row), x, y, this.theme, true);
  }

  private plateOf(row: number): string {
    const name = this.model.hello.value?.trackables[row]?.name ?? "";
    const lost = this.model.lostSince(row);
    return lost === null ? name : `${name}, ${lost}`;
  }

  private chosenRow(): number | null {
    const chosen = this.model.selection.value;
    if (chosen?.what !== "thing") return null;
    return this.model.rows.value.get(chosen.id) ?? null;
  }

  /** Sets off to what the model asks for, once it is known where that is. */
  private takeFlight(now: number): void {
    const flight = this.model.flight.peek();
    if (flight === null) return;
    const jump = this.model.reducedMotion;
    const aim = this.find(flight.to);
    if (aim === null) return;
    const change = aim.floor !== this.model.floor.peek();
    batch(() => {
      if (change) this.model.floor.value = aim.floor;
      this.model.flight.value = null;
      this.model.following.value = flight.follow;
    });
    if (aim.box !== undefined) {
      this.camera.fitBox(aim.box, now, jump || change);
    } else {
      const scale = Math.max(CLOSE, this.camera.view.scale);
      this.camera.fly({ x: aim.x, y: aim.y, scale }, now, jump || change);
    }
    this.groundStale = true;
  }

  private find(to: Selection): { floor: string; x: number; y: number; box?: Box } | null {
    const { model } = this;
    const site = model.site.peek();
    if (to.what === "thing") {
      const row = model.rows.peek().get(to.id);
      if (row === undefined || !model.tags.isLocated(row)) return null;
      const floor = model.hello.peek()?.floors[model.tags.floor[row]!];
      return floor === undefined ? null : { floor, x: model.tags.x[row]!, y: model.tags.y[row]! };
    }
    if (to.what === "gateway") {
      const place = site?.gateways?.find((gateway) => gateway.id === to.id);
      return place ? { floor: place.floor, x: place.position[0]!, y: place.position[1]! } : null;
    }
    const zone = site?.zones?.find((candidate) => candidate.id === to.id);
    if (zone === undefined) return null;
    const box = boxOf(zone.polygon);
    return { floor: zone.floor, x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, box };
  }

  /** Follows the chosen thing, onto another floor too; returns whether the view changed. */
  private keepUp(now: number): boolean {
    const row = this.chosenRow();
    const { model } = this;
    if (!model.following.value || row === null || !model.tags.isLocated(row)) return false;
    const floor = model.hello.value?.floors[model.tags.floor[row]!];
    if (floor !== undefined && floor !== model.floor.value) model.floor.value = floor;
    const x = model.tags.drawnX(row, now);
    const y = model.tags.drawnY(row, now);
    return this.camera.follow(x, y, now, model.reducedMotion);
  }

  private watchModel(): (() => void)[] {
    const { model } = this;
    return [
      model.onPositions(() => this.redraw()),
      effect(() => {
        const site = model.site.value;
        const floor = model.floor.value;
        if (site === null || floor === null) return;
        const before = this.ground;
        this.ground = makeGround(site, floor);
        this.camera.tabs = site.floors.length > 1;
        const same = before !== null && String(before.box) === String(this.ground?.box);
        if (this.ground !== null && !same) this.camera.show(this.ground.box);
        this.moved();
      }),
      effect(() => {
        const floor = model.floor.value;
        const health = model.gateways.value;
        this.gateways = (model.site.value?.gateways ?? [])
          .filter((gateway) => gateway.floor === floor)
          .map(({ id, position }) => ({
            id,
            x: position[0]!,
            y: position[1]!,
            state: health.get(id)?.state ?? "unknown",
            suspect: health.get(id)?.suspect !== undefined,
          }));
        this.redraw();
      }),
      effect(() => {
        // Read so that each of them brings a new painting.
        void [model.layers.value, model.selection.value, model.occupancy.value];
        this.moved();
      }),
      effect(() => {
        void [model.hiddenKinds.value, model.flight.value, model.following.value, model.beat.value];
        void [model.hello.value, model.lost.value, model.lostHidden.value];
        this.redraw();
      }),
      effect(() => {
        const chosen = model.selection.value;
        untracked(() => void this.fetchTrack(chosen));
      }),
    ];
  }

  private async fetchTrack(chosen: Selection | null): Promise<void> {
    this.track = null;
    if (chosen?.what !== "thing") return;
    try {
      const answer = await get<{ track?: TrackPoint[] }>(`trackables/${encodeURIComponent(chosen.id)}`);
      if (this.model.selection.value?.id !== chosen.id) return;
      const track = answer.track ?? [];
      const last = track.at(-1);
      // Only the stretch on the floor where it is now: a line across floors would mislead.
      const begin = track.findLastIndex((point) => point.floor !== last?.floor) + 1;
      this.track = {
        id: chosen.id,
        floor: this.model.hello.value?.floors.indexOf(last?.floor ?? "") ?? -1,
        t: last?.t ?? 0,
        points: track.slice(begin).flatMap((point) => [point.x, point.y]),
      };
      this.redraw();
    } catch {
      // The map shows it without its way; the card says what the matter is.
    }
  }

  private watchSize(): () => void {
    const observer = new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = this.element;
      this.ratio = Math.min(MAX_RATIO, window.devicePixelRatio || 1);
      for (const canvas of [this.groundCanvas, this.liveCanvas]) {
        canvas.width = Math.round(width * this.ratio);
        canvas.height = Math.round(height * this.ratio);
      }
      this.camera.resize({ width, height });
      this.groundStale = true;
      // At once, because a canvas that has changed its size is blank.
      cancelAnimationFrame(this.request);
      this.draw(performance.now());
    });
    observer.observe(this.element);
    return () => observer.disconnect();
  }

  private watchTheme(): () => void {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const change = (): void => {
      this.theme = readTheme(this.element);
      this.moved();
    };
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }
}
