/** Tags between two frames: where they are drawn, what a snapshot forgets, what a trail keeps. */

import { expect, test } from "vitest";

import { NO_ZONE, type Frame, type Named } from "../src/live/protocol";
import { NOWHERE, Tags, TRAIL_POINTS } from "../src/live/tags";

const THINGS: Named[] = [
  { id: "box", name: "Box", kind: "item" },
  { id: "ann", name: "Ann", kind: "picker" },
];

function tags(): Tags {
  return new Tags({ origin: [100, -50], trackables: THINGS });
}

function frame(fixes: { row: number; x: number; y: number; floor?: number; age?: number }[], rest: Partial<Frame> = {}): Frame {
  return {
    snapshot: false,
    sequence: 1,
    t: 1000,
    siteVersion: 1,
    count: fixes.length,
    row: Uint32Array.from(fixes, (fix) => fix.row),
    xCm: Uint16Array.from(fixes, (fix) => fix.x * 100),
    yCm: Uint16Array.from(fixes, (fix) => fix.y * 100),
    age: Uint16Array.from(fixes, (fix) => fix.age ?? 0),
    accuracyCm: Uint16Array.from(fixes, () => 150),
    zone: Uint16Array.from(fixes, () => NO_ZONE),
    floor: Uint8Array.from(fixes, (fix) => fix.floor ?? 0),
    speedDm: Uint8Array.from(fixes, () => 13),
    ...rest,
  };
}

test("the first fix of a tag stands at once, in the site's frame", () => {
  const all = tags();
  all.apply(frame([{ row: 1, x: 3, y: 4 }]), 0, true);
  expect([all.drawnX(1, 0), all.drawnY(1, 0)]).toEqual([103, -46]);
  expect(all.located).toBe(1);
  expect(all.floor[0]).toBe(NOWHERE);
  expect(all.accuracy[1]).toBeCloseTo(1.5);
  expect(all.speed[1]).toBeCloseTo(1.3);
  expect(all.moving(1)).toBe(false);
});

test("a tag glides to its next fix and rests there", () => {
  const all = tags();
  all.apply(frame([{ row: 1, x: 0, y: 0 }]), 0, true);
  all.apply(frame([{ row: 1, x: 1, y: 0 }]), 500, true);
  expect(all.drawnX(1, 500)).toBe(100);
  expect(all.drawnX(1, 750)).toBeCloseTo(100.5);
  expect(all.moving(750)).toBe(true);
  expect(all.drawnX(1, 2000)).toBe(101);
  expect(all.moving(2000)).toBe(false);
});

test("a fix that comes during a glide turns it without a jump", () => {
  const all = tags();
  all.apply(frame([{ row: 1, x: 0, y: 0 }]), 0, true);
  all.apply(frame([{ row: 1, x: 1, y: 0 }]), 500, true);
  const before = all.drawnX(1, 750);
  all.apply(frame([{ row: 1, x: 0, y: 0 }]), 750, true);
  expect(all.drawnX(1, 750)).toBeCloseTo(before);
});

test.each([
  ["without gliding", { x: 1, y: 0 }, false],
  ["to another floor", { x: 1, y: 0, floor: 1 }, true],
  ["across the site", { x: 90, y: 0 }, true],
])("a tag jumps %s", (_, to, glide) => {
  const all = tags();
  all.apply(frame([{ row: 1, x: 0, y: 0 }]), 0, true);
  all.apply(frame([{ row: 1, ...to }]), 500, glide);
  expect(all.drawnX(1, 500)).toBe(100 + to.x);
});

test("a snapshot brings ages and forgets what it does not hold", () => {
  const all = tags();
  all.apply(frame([{ row: 0, x: 1, y: 1 }, { row: 1, x: 2, y: 2 }]), 0, true);
  all.apply(frame([{ row: 0, x: 1, y: 1, age: 40 }], { snapshot: true, t: 2000 }), 500, true);
  expect(all.located).toBe(1);
  expect(all.isLocated(1)).toBe(false);
  expect(all.t[0]).toBe(1960);
});

test("rows that the site does not have are left out", () => {
  const all = tags();
  all.apply(frame([{ row: 7, x: 1, y: 1 }]), 0, true);
  expect(all.located).toBe(0);
});

test("movers leave trails of bounded length, oldest first; items leave none", () => {
  const all = tags();
  for (let i = 0; i < TRAIL_POINTS + 5; i++) {
    all.apply(frame([{ row: 0, x: i, y: 0 }, { row: 1, x: i, y: 0 }]), 500 * i, true);
  }
  expect(all.trails.has(0)).toBe(false);
  const trail = all.trails.get(1)!;
  expect(trail.length).toBe(TRAIL_POINTS);
  expect(trail.points[2 * trail.start]).toBe(105);
});

test("the lost stay where they were until a tick has a fix of them", () => {
  const all = tags();
  all.apply(frame([{ row: 0, x: 1, y: 1 }, { row: 1, x: 2, y: 2 }]), 0, true);
  all.lose([0, 1, 7]);
  const before = all.lost;
  expect([...before]).toEqual([0, 1]);
  all.apply(frame([]), 500, true);
  expect(all.lost).toBe(before);
  all.apply(frame([{ row: 1, x: 5, y: 5 }]), 1000, true);
  expect([...all.lost]).toEqual([0]);
  expect([...before]).toEqual([0, 1]);
  expect(all.drawnX(0, 1000)).toBe(101);
});

test("a snapshot holds the lost too and finds nobody", () => {
  const all = tags();
  all.apply(frame([{ row: 0, x: 1, y: 1 }]), 0, true);
  all.lose([0]);
  all.apply(frame([{ row: 0, x: 1, y: 1, age: 90 }], { snapshot: true }), 500, true);
  expect([...all.lost]).toEqual([0]);
  all.lose([]);
  expect(all.lost.size).toBe(0);
});
