/** Numbers and times as people read them. */

import { expect, test } from "vitest";

import { ago, clock, moment, sentence, signed, since, suspicion } from "../src/text";

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

test.each([
  ["the same day", 1_785_153_600, 1_785_160_000, "14:00"],
  ["the day before", 1_785_153_600, 1_785_240_000, "27 Jul, 14:00"],
  ["shortly before midnight", 1_785_189_000, 1_785_191_000, "27 Jul, 23:50"],
  ["the same day of another year", 1_785_153_600, 1_785_153_600 + 365 * 86_400, "27 Jul, 14:00"],
])("a moment of %s", (_, t, now, said) => {
  expect(moment("Europe/Paris")(t, now)).toBe(said);
});

test("what a worker says becomes a sentence", () => {
  expect(sentence("`g-1` hears less; see to it")).toBe("g-1 hears less; see to it.");
  expect(sentence("nobody hears `g-1`")).toBe("Nobody hears g-1.");
  expect(sentence("Done.")).toBe("Done.");
  expect(sentence("")).toBe("");
});

test("numbers have their sign", () => {
  expect([signed(1.34), signed(-6), signed(-0.04)]).toEqual(["+1.3", "−6.0", "0.0"]);
});

test("a suspicion that is new to the page stands for itself", () => {
  expect([suspicion("deaf"), suspicion("struck by lightning")]).toEqual([
    "Hears less than it should",
    "Suspect: struck by lightning",
  ]);
});
