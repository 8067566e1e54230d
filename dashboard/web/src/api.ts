/** The HTTP API as the page uses it: shapes of answers, and errors as one sentence. */

import type { GatewayState, Kind } from "./live/protocol";
import { capital } from "./text";

export type Point = [number, number];

export interface SiteDocument {
  id: string;
  name: string;
  timezone: string;
  floors: { id: string; name: string; level: number; outline: Point[] }[];
  gateways?: { id: string; floor: string; position: number[] }[];
  obstacles?: { id: string; floor: string; kind: "rack" | "wall"; polygon: Point[] }[];
  zones?: { id: string; floor: string; name: string; kind: string; polygon: Point[] }[];
  trackables?: { id: string; name: string; kind: Kind; beacons: string[]; sku?: string }[];
}

export interface Position {
  x: number;
  y: number;
  floor: string;
  accuracy: number;
  zone: string | null;
  t: number;
  age_s: number;
  lost: boolean;
}

export interface Trackable {
  id: string;
  name: string;
  kind: Kind;
  beacons: string[];
  sku: string | null;
  quantity: number | null;
  position: Position | null;
}

export interface TrackPoint {
  t: number;
  x: number;
  y: number;
  floor: string;
}

export interface ZoneOccupancy {
  id: string;
  name: string;
  kind: string;
  floor: string;
  total: number;
  by_kind: Partial<Record<Kind, number>>;
}

export interface Gateway {
  id: string;
  floor: string;
  position: number[];
  state: GatewayState;
  reason: string;
  rate: number;
  age_s: number | null;
  version: string;
  scanner: string;
  readings: number;
  missing: number;
  suspect: string | null;
  suspect_text: string;
  residual_db: number | null;
  hears: number | null;
}

/** The radio model that one partition uses, and what the partition fitted. */
export interface ModelInUse {
  partition: number;
  version: string;
  origin: string;
  fits: number;
  adopted: number;
}

export interface UnassignedBeacon {
  beacon: string;
  rssi: number;
  gateway: string;
  t: number;
  n: number;
}

/** An answer that is not what was asked for; the message is a sentence for a person. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** An address of the API, wherever the page is mounted. */
export function address(path: string): URL {
  return new URL(`api/v1/${path}`, document.baseURI);
}

export function liveAddress(): string {
  const url = address("live");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, signal ? { signal } : {})).json()) as T;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const answer = await request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await answer.json()) as T;
}

/** The site's document, and the server's clock when it answered, Unix seconds. */
export async function getSite(): Promise<{ site: SiteDocument; serverTime: number }> {
  const answer = await request("site", {});
  const said = Date.parse(answer.headers.get("Date") ?? "");
  const serverTime = (Number.isNaN(said) ? Date.now() : said) / 1000;
  return { site: (await answer.json()) as SiteDocument, serverTime };
}

async function request(path: string, options: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", 0);
  }
  if (!answer.ok) throw new ApiError(await sentence(answer), answer.status);
  return answer;
}

/** Says a problem document (RFC 9457) in its own words. */
async function sentence(answer: Response): Promise<string> {
  try {
    const problem = (await answer.json()) as { detail?: unknown; title?: unknown };
    for (const said of [problem.detail, problem.title]) {
      if (typeof said === "string" && said !== "") return capital(said);
    }
  } catch {
    // Not JSON: a proxy's page, say.
  }
  return `The server answered ${answer.status}.`;
}
