/**
 * Frames that the server's own encoder made, decoded here. BALISE_VECTORS names the file, which
 * tests/browser/test_page_units.py writes before it runs these tests.
 */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

import { decodeFrame, decodeMessage, ProtocolError } from "../src/live/protocol";

interface Vector {
  name: string;
  frame: string;
  snapshot: boolean;
  sequence: number;
  t: number;
  site_version: number;
  columns: Record<"row" | "xCm" | "yCm" | "age" | "accuracyCm" | "zone" | "floor" | "speedDm", number[]>;
}

const file = process.env["BALISE_VECTORS"];
const vectors = file ? (JSON.parse(readFileSync(file, "utf8")) as Vector[]) : [];

function buffer(hex: string): ArrayBuffer {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)).buffer;
}

describe.skipIf(vectors.length === 0)("frames of the server's encoder", () => {
  test.each(vectors)("$name", (vector) => {
    const frame = decodeFrame(buffer(vector.frame));
    expect(frame.snapshot).toBe(vector.snapshot);
    expect(frame.sequence).toBe(vector.sequence);
    expect(frame.t).toBe(vector.t);
    expect(frame.siteVersion).toBe(vector.site_version);
    expect(frame.count).toBe(vector.columns.row.length);
    for (const [name, column] of Object.entries(vector.columns)) {
      expect([...frame[name as keyof Vector["columns"]]], name).toEqual(column);
    }
  });

  test("a frame that is cut off or too long is refused", () => {
    const whole = buffer(vectors.at(-1)!.frame);
    for (const length of [0, 23, whole.byteLength - 1]) {
      expect(() => decodeFrame(whole.slice(0, length))).toThrow(ProtocolError);
    }
    const long = new Uint8Array(whole.byteLength + 1);
    long.set(new Uint8Array(whole));
    expect(() => decodeFrame(long.buffer)).toThrow(ProtocolError);
  });
});

test("a frame of another version is refused", () => {
  const frame = new Uint8Array(24);
  frame[0] = 2;
  expect(() => decodeFrame(frame.buffer)).toThrow("version 2");
});

test("messages without a type, and feeds of another version, are refused", () => {
  expect(() => decodeMessage("[]")).toThrow(ProtocolError);
  expect(() => decodeMessage("null")).toThrow(ProtocolError);
  expect(() => decodeMessage('{"type":"hello","v":2}')).toThrow("version 2");
  expect(() => decodeMessage("{")).toThrow(SyntaxError);
});
