/**
 * Where every trackable is on the screen now: the last fixes in columns, gliding from one tick to
 * the next. It knows frames and times handed in, neither canvas nor clock.
 */

import { NO_ZONE, type Frame, type Hello, type Kind } from "./protocol";

/** In the order in which they are listed; a tag's kind is its place here. */
export const KINDS: readonly Kind[] = ["picker", "visitor", "cart", "other", "item"];
export const ITEM = KINDS.indexOf("item");

/** A floor number no site has: the tag has no fix yet. */
export const NOWHERE = 0xff;

/** Moves below this are not worth an animation, in metres. */
const STILL_M = 0.02;
/** A tag that is farther from its place than this jumps there, in metres. */
const JUMP_M = 25;
/** Bounds on how long a glide takes, in milliseconds: about the time between two frames. */
const GLIDE_MS = { least: 150, most: 1500, first: 500 };
/** How much of a mover's way is kept for its trail: points, one a fix: about the last twenty seconds. */
export const TRAIL_POINTS = 24;
/** Trails are kept for at most this many movers. */
const MAX_TRAILS = 400;

const NOBODY: ReadonlySet<number> = new Set();

export interface Trail {
  /** x and y in turn, oldest first from `start`. */
  points: Float32Array;
  start: number;
  length: number;
  floor: number;
}

export class Tags {
  readonly size: number;
  readonly kind: Uint8Array;
  readonly floor: Uint8Array;
  readonly zone: Uint16Array;
  /** Where the fix is, metres. */
  readonly x: Float32Array;
  readonly y: Float32Array;
  /** Metres, the radius that holds 68 % of errors. */
  readonly accuracy: Float32Array;
  /** Metres a second. */
  readonly speed: Float32Array;
  /** When the fix was, Unix seconds. */
  readonly t: Float64Array;
  readonly trails = new Map<number, Trail>();
  /** How many have a fix. */
  located = 0;
  /** Rows of those that were unheard for too long; another set whenever it changes. */
  lost: ReadonlySet<number> = NOBODY;
  /** Glides end here, in the milliseconds of `apply`'s `now`. */
  glideEnd = 0;

  private readonly fromX: Float32Array;
  private readonly fromY: Float32Array;
  private readonly began: Float64Array;
  /** How long each glide takes: it keeps the pace it began with. */
  private readonly lasts: Float32Array;
  private span = GLIDE_MS.first;
  private lastArrival = 0;
  private readonly origin: readonly [number, number];

  constructor(hello: Pick<Hello, "origin" | "trackables">) {
    const n = hello.trackables.length;
    this.size = n;
    this.origin = hello.origin;
    this.kind = Uint8Array.from(hello.trackables, (named) => Math.max(0, KINDS.indexOf(named.kind)));
    this.floor = new Uint8Array(n).fill(NOWHERE);
    this.zone = new Uint16Array(n).fill(NO_ZONE);
    this.x = new Float32Array(n);
    this.y = new Float32Array(n);
    this.accuracy = new Float32Array(n);
    this.speed = new Float32Array(n);
    this.t = new Float64Array(n);
    this.fromX = new Float32Array(n);
    this.fromY = new Float32Array(n);
    this.began = new Float64Array(n);
    this.lasts = new Float32Array(n).fill(1);
  }

  /** Takes a frame that came at `now` (milliseconds); with `glide` tags move there smoothly. */
  apply(frame: Frame, now: number, glide: boolean): void {
    this.measure(now);
    // Who is lost is said anew after a snapshot; in a tick are only those that were heard.
    if (frame.snapshot) this.forget();
    else this.find(frame);
    const [originX, originY] = this.origin;
    for (let i = 0; i < frame.count; i++) {
      const row = frame.row[i]!;
      if (row >= this.size) continue;
      const x = originX + frame.xCm[i]! / 100;
      const y = originY + frame.yCm[i]! / 100;
      const floor = frame.floor[i]!;
      this.head(row, x, y, floor, now, glide && !frame.snapshot);
      this.accuracy[row] = frame.accuracyCm[i]! / 100;
      this.speed[row] = frame.speedDm[i]! / 10;
      this.zone[row] = frame.zone[i]!;
      this.t[row] = frame.t - frame.age[i]!;
      if (this.kind[row] !== ITEM && !frame.snapshot) this.remember(row, x, y, floor);
    }
  }

  /** Takes in who is lost now, by row; a tick that has a fix of them finds them again. */
  lose(rows: readonly number[]): void {
    this.lost = rows.length === 0 ? NOBODY : new Set(rows.filter((row) => row < this.size));
  }

  /** Whether anything is still gliding. */
  moving(now: number): boolean {
    return now < this.glideEnd;
  }

  /** Where a tag is drawn at `now`: 0 at the start of its glide, 1 at its fix. */
  progress(row: number, now: number): number {
    const share = (now - this.began[row]!) / this.lasts[row]!;
    return share >= 1 ? 1 : share <= 0 ? 0 : share;
  }

  drawnX(row: number, now: number): number {
    const from = this.fromX[row]!;
    return from + (this.x[row]! - from) * this.progress(row, now);
  }

  drawnY(row: number, now: number): number {
    const from = this.fromY[row]!;
    return from + (this.y[row]! - from) * this.progress(row, now);
  }

  isLocated(row: number): boolean {
    return this.floor[row] !== NOWHERE;
  }

  private head(row: number, x: number, y: number, floor: number, now: number, glide: boolean): void {
    const known = this.floor[row] !== NOWHERE;
    const fromX = this.drawnX(row, now);
    const fromY = this.drawnY(row, now);
    const way = Math.hypot(x - fromX, y - fromY);
    const jump = !glide || !known || this.floor[row] !== floor || way > JUMP_M;
    this.fromX[row] = jump ? x : fromX;
    this.fromY[row] = jump ? y : fromY;
    this.began[row] = now;
    this.lasts[row] = this.span;
    this.x[row] = x;
    this.y[row] = y;
    this.floor[row] = floor;
    if (!known) this.located++;
    if (!jump && way > STILL_M) this.glideEnd = now + this.span;
  }

  private find(frame: Frame): void {
    if (this.lost.size === 0 || !frame.row.some((row) => this.lost.has(row))) return;
    const lost = new Set(this.lost);
    for (const row of frame.row) lost.delete(row);
    this.lost = lost;
  }

  private measure(now: number): void {
    const gap = now - this.lastArrival;
    this.lastArrival = now;
    if (gap < GLIDE_MS.least || gap > GLIDE_MS.most) return;
    this.span += (gap - this.span) * 0.2;
  }

  private forget(): void {
    this.floor.fill(NOWHERE);
    this.zone.fill(NO_ZONE);
    this.located = 0;
    this.trails.clear();
  }

  private remember(row: number, x: number, y: number, floor: number): void {
    let trail = this.trails.get(row);
    if (trail === undefined) {
      if (this.trails.size >= MAX_TRAILS) return;
      trail = { points: new Float32Array(2 * TRAIL_POINTS), start: 0, length: 0, floor };
      this.trails.set(row, trail);
    }
    if (trail.floor !== floor) {
      trail.length = 0;
      trail.floor = floor;
    }
    const at = 2 * ((trail.start + trail.length) % TRAIL_POINTS);
    trail.points[at] = x;
    trail.points[at + 1] = y;
    if (trail.length < TRAIL_POINTS) trail.length++;
    else trail.start = (trail.start + 1) % TRAIL_POINTS;
  }
}
