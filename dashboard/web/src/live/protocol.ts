/**
 * The live feed as bytes and values: what a frame or a message says, and nothing about sockets.
 * Described in docs/api.md.
 */

export const VERSION = 1;
/** The zone of a fix that is in no zone. */
export const NO_ZONE = 0xffff;

const HEADER_BYTES = 24;
const ROW_BYTES = 16;
const SNAPSHOT = 1;

export type Kind = "item" | "picker" | "visitor" | "cart" | "other";
export type GatewayState = "online" | "late" | "offline" | "unknown";

export interface Named {
  id: string;
  name: string;
  kind: Kind;
  sku?: string;
}

/** What rows of frames refer to; every frame that follows is read with it. */
export interface Hello {
  type: "hello";
  v: number;
  site_version: number;
  origin: [number, number];
  floors: string[];
  zones: string[];
  trackables: Named[];
}

export interface GatewayHealth {
  id: string;
  state: GatewayState;
  rate: number;
  age: number | null;
  /** Why it is not as it should be, as far as its readings tell; left out when it is well. */
  suspect?: string;
}

export type Message =
  | Hello
  | { type: "gateways"; gateways: GatewayHealth[] }
  | { type: "zones"; counts: number[] }
  | { type: "lost"; rows: number[] }
  | { type: "resync" };

/** One tick's fixes (or, as a snapshot, the last fix of each trackable) in columns. */
export interface Frame {
  snapshot: boolean;
  sequence: number;
  /** The tick's end, Unix seconds. */
  t: number;
  siteVersion: number;
  count: number;
  /** Rows in the hello's trackables. */
  row: Uint32Array;
  /** Centimetres from the hello's origin. */
  xCm: Uint16Array;
  yCm: Uint16Array;
  /** Seconds since the fix. */
  age: Uint16Array;
  /** The radius that holds 68 % of errors, in centimetres. */
  accuracyCm: Uint16Array;
  /** Rows in the hello's zones, or NO_ZONE. */
  zone: Uint16Array;
  /** Rows in the hello's floors. */
  floor: Uint8Array;
  /** Decimetres a second. */
  speedDm: Uint8Array;
}

/** A frame or message that is not of this protocol. */
export class ProtocolError extends Error {}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export function decodeFrame(buffer: ArrayBuffer): Frame {
  if (buffer.byteLength < HEADER_BYTES) throw new ProtocolError("a frame ends in its header");
  const view = new DataView(buffer);
  const version = view.getUint8(0);
  if (version !== VERSION) throw new ProtocolError(`frames of version ${version} are unknown`);
  const count = view.getUint32(16, true);
  if (buffer.byteLength !== HEADER_BYTES + count * ROW_BYTES) {
    throw new ProtocolError(`a frame of ${count} fixes has ${buffer.byteLength} bytes`);
  }
  let at = HEADER_BYTES;
  const words = (): Uint16Array => {
    const column = uint16(view, at, count);
    at += 2 * count;
    return column;
  };
  const bytes = (): Uint8Array => {
    const column = new Uint8Array(buffer, at, count);
    at += count;
    return column;
  };
  const row = uint32(view, at, count);
  at += 4 * count;
  return {
    snapshot: (view.getUint8(1) & SNAPSHOT) !== 0,
    sequence: view.getUint32(4, true),
    t: view.getFloat64(8, true),
    siteVersion: view.getUint32(20, true),
    count,
    row,
    xCm: words(),
    yCm: words(),
    age: words(),
    accuracyCm: words(),
    zone: words(),
    floor: bytes(),
    speedDm: bytes(),
  };
}

export function decodeMessage(text: string): Message {
  const said: unknown = JSON.parse(text);
  if (typeof said !== "object" || said === null || !("type" in said)) {
    throw new ProtocolError("a message has no type");
  }
  const message = said as Message;
  if (message.type === "hello" && message.v !== VERSION) {
    throw new ProtocolError(`a feed of version ${message.v} is unknown`);
  }
  return message;
}

export const RESYNC = JSON.stringify({ type: "resync" });

// The columns lie at multiples of their width, so little-endian machines read them in place.
function uint32(view: DataView, at: number, count: number): Uint32Array {
  if (LITTLE_ENDIAN) return new Uint32Array(view.buffer as ArrayBuffer, at, count);
  return Uint32Array.from({ length: count }, (_, i) => view.getUint32(at + 4 * i, true));
}

function uint16(view: DataView, at: number, count: number): Uint16Array {
  if (LITTLE_ENDIAN) return new Uint16Array(view.buffer as ArrayBuffer, at, count);
  return Uint16Array.from({ length: count }, (_, i) => view.getUint16(at + 2 * i, true));
}
