/** Numbers and times as people read them. */

import { expect, test } from "vitest";

import { ago, clock, since } from "../src/text";

test.each([
  [0, "now"],
  [12.4, "12 s"],
  [89, "89 s"],
  [100, "2 min"],
  [7200, "2 h"],
  [200_000, "2 d"],
])("%d seconds are %s", (seconds, text) => {
  expect(since(seconds)).toBe(text);
});

test("ago makes a sentence of it", () => {
  expect([ago(0), ago(30)]).toEqual(["just now", "30 s ago"]);
});

test("clocks show the site's time, or the browser's where the zone is unknown", () => {
  expect(clock("Europe/Paris")(1_785_153_600)).toBe("14:00:00");
  expect(clock("Mars/Olympus")(0)).toMatch(/^\d\d:\d\d:\d\d$/);
});
