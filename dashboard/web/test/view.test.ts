/** The camera's arithmetic: what stays under the pointer, what is in sight. */

import { expect, test } from "vitest";

import { Camera } from "../src/map/camera";
import { fit, pan, SCALE, scaleBar, screenX, screenY, siteX, siteY, zoomAt } from "../src/map/view";

const SIZE = { width: 800, height: 600 };
const VIEW = { x: 30, y: 20, scale: 12 };

test("pixels and metres are each other's inverse, with y up", () => {
  expect(siteX(VIEW, SIZE, screenX(VIEW, SIZE, 7))).toBeCloseTo(7);
  expect(siteY(VIEW, SIZE, screenY(VIEW, SIZE, 9))).toBeCloseTo(9);
  expect(screenY(VIEW, SIZE, 25)).toBeLessThan(screenY(VIEW, SIZE, 20));
});

test("zooming keeps what is under the pointer, and ends at its bounds", () => {
  const x = siteX(VIEW, SIZE, 200);
  const y = siteY(VIEW, SIZE, 150);
  const closer = zoomAt(VIEW, SIZE, 200, 150, 3);
  expect(siteX(closer, SIZE, 200)).toBeCloseTo(x);
  expect(siteY(closer, SIZE, 150)).toBeCloseTo(y);
  expect(zoomAt(VIEW, SIZE, 0, 0, 1e6).scale).toBe(SCALE.most);
  expect(zoomAt(VIEW, SIZE, 0, 0, 1e-6).scale).toBe(SCALE.least);
});

test("panning moves the floor with the hand", () => {
  const moved = pan(VIEW, 24, 12);
  expect(screenX(moved, SIZE, 30)).toBeCloseTo(screenX(VIEW, SIZE, 30) + 24);
  expect(screenY(moved, SIZE, 20)).toBeCloseTo(screenY(VIEW, SIZE, 20) + 12);
});

test("a fitted box lies within its margins", () => {
  const margins = { top: 10, right: 60, bottom: 70, left: 20 };
  const view = fit([0, 0, 60, 40], SIZE, margins);
  expect(screenX(view, SIZE, 0)).toBeGreaterThanOrEqual(20 - 1e-6);
  expect(screenX(view, SIZE, 60)).toBeLessThanOrEqual(740 + 1e-6);
  expect(screenY(view, SIZE, 40)).toBeGreaterThanOrEqual(10 - 1e-6);
  expect(screenY(view, SIZE, 0)).toBeLessThanOrEqual(530 + 1e-6);
});

test.each([
  [12, 120, 10],
  [50, 120, 2],
  [2.3, 120, 50],
])("at %d pixels a metre %d pixels hold a bar of %d m", (scale, room, metres) => {
  expect(scaleBar(scale, room)).toBe(metres);
});

test("a flight ends where it was sent, and a hand on the map ends it", () => {
  const camera = new Camera();
  camera.resize(SIZE);
  camera.show([0, 0, 60, 40]);
  camera.fly({ x: 10, y: 10, scale: 40 }, 0, false);
  expect(camera.advance(100)).toBe(true);
  expect(camera.flying).toBe(true);
  camera.advance(10_000);
  expect(camera.view).toEqual({ x: 10, y: 10, scale: 40 });
  expect(camera.flying).toBe(false);
  camera.fly({ x: 50, y: 30, scale: 40 }, 0, false);
  camera.drag(1, 1);
  expect(camera.flying).toBe(false);
});

test("the view stays fitted while the window changes, until somebody moves it", () => {
  const camera = new Camera();
  camera.resize(SIZE);
  camera.show([0, 0, 60, 40]);
  const before = camera.view.scale;
  camera.resize({ width: 1600, height: 1200 });
  expect(camera.view.scale).toBeGreaterThan(before);
  camera.drag(5, 5);
  const moved = camera.view;
  camera.resize(SIZE);
  expect(camera.view).toEqual(moved);
});

test("a followed thing comes to the middle and no further", () => {
  const camera = new Camera();
  camera.resize(SIZE);
  camera.show([0, 0, 60, 40]);
  for (let now = 0; now < 3000; now += 16) camera.follow(12, 8, now, false);
  expect(Math.abs(camera.view.x - 12) * camera.view.scale).toBeLessThan(1);
  expect(camera.follow(12, 8, 3001, false)).toBe(false);
});
