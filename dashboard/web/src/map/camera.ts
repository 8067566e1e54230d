/** The camera's motion: flights, following, and what the user's hand does to both. */

import {
  between,
  fit,
  pan,
  within,
  zoomAt,
  type Box,
  type Margins,
  type Size,
  type View,
} from "./view";

const FLIGHT_MS = 600;
const STEP_MS = 180;
/** Room around a fitted floor: the buttons are on the right, the legend below, floor tabs above. */
const MARGINS: Margins = { top: 24, right: 66, bottom: 66, left: 24 };
const TABS_PX = 40;
/** Below this width every pixel is the map's. */
const NARROW_PX = 700;
const NARROW: Margins = { top: 12, right: 12, bottom: 12, left: 12 };
/** A zone is shown with its surroundings. */
const AROUND: Margins = { top: 90, right: 90, bottom: 90, left: 90 };
/** How fast a followed thing is caught up with: the share of the way a millisecond. */
const FOLLOW_RATE = 0.008;

export class Camera {
  view: View = { x: 0, y: 0, scale: 10 };
  size: Size = { width: 0, height: 0 };
  box: Box = [0, 0, 1, 1];
  /** Whether the view is still the fitted one, which then stays fitted when the window changes. */
  fitted = true;
  /** Whether floor tabs lie over the map. */
  tabs = false;

  private from: View | null = null;
  private to: View | null = null;
  private began = 0;
  private lasts = FLIGHT_MS;
  private last = 0;

  resize(size: Size): void {
    this.size = size;
    if (this.fitted) this.view = fit(this.box, size, this.margins);
  }

  /** Shows another floor, all of it. */
  show(box: Box): void {
    this.box = box;
    this.fitted = true;
    this.to = null;
    this.view = fit(box, this.size, this.margins);
  }

  fitAll(now: number, jump: boolean): void {
    this.fly(fit(this.box, this.size, this.margins), now, jump);
    this.fitted = true;
  }

  fitBox(box: Box, now: number, jump: boolean): void {
    this.fly(fit(box, this.size, this.size.width < NARROW_PX ? NARROW : AROUND), now, jump);
  }

  fly(to: View, now: number, jump: boolean, lasts = FLIGHT_MS): void {
    this.fitted = false;
    if (jump) {
      this.view = to;
      this.to = null;
      return;
    }
    this.from = this.view;
    this.to = to;
    this.began = now;
    this.lasts = lasts;
  }

  drag(dx: number, dy: number): void {
    this.fitted = false;
    this.to = null;
    this.view = within(pan(this.view, dx, dy), this.box);
  }

  zoom(px: number, py: number, factor: number): void {
    this.fitted = false;
    this.to = null;
    this.view = within(zoomAt(this.view, this.size, px, py, factor), this.box);
  }

  /** A step by key or button: zoom about the middle and pan, smoothly, from where it is going. */
  step(dx: number, dy: number, factor: number, now: number, jump: boolean): void {
    const start = this.to ?? this.view;
    const { width, height } = this.size;
    const next = within(pan(zoomAt(start, this.size, width / 2, height / 2, factor), dx, dy), this.box);
    this.fly(next, now, jump, STEP_MS);
  }

  get flying(): boolean {
    return this.to !== null;
  }

  /** Moves on to `now`; returns whether the view changed and more is to come. */
  advance(now: number): boolean {
    if (this.to === null || this.from === null) return false;
    const share = Math.min(1, (now - this.began) / this.lasts);
    this.view = share === 1 ? this.to : between(this.from, this.to, share);
    if (share === 1) this.to = null;
    return true;
  }

  /** Keeps a followed place in the middle; returns whether the view changed. */
  follow(x: number, y: number, now: number, jump: boolean): boolean {
    const passed = Math.min(100, now - this.last);
    this.last = now;
    if (this.to !== null) {
      // Still on the way there: aim at where it is by now.
      this.to = { ...this.to, x, y };
      return false;
    }
    const dx = x - this.view.x;
    const dy = y - this.view.y;
    if (Math.hypot(dx, dy) * this.view.scale < 0.5) return false;
    const share = jump ? 1 : 1 - Math.exp(-FOLLOW_RATE * passed);
    this.fitted = false;
    this.view = { ...this.view, x: this.view.x + dx * share, y: this.view.y + dy * share };
    return true;
  }

  private get margins(): Margins {
    const margins = this.size.width < NARROW_PX ? NARROW : MARGINS;
    return this.tabs ? { ...margins, top: margins.top + TABS_PX } : margins;
  }
}
