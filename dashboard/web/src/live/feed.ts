/**
 * The socket of the live feed: connects, connects again with growing pauses, asks for a snapshot
 * after a gap. What frames mean is for whoever listens.
 */

import {
  decodeFrame,
  decodeMessage,
  ProtocolError,
  RESYNC,
  type Frame,
  type Hello,
  type Message,
} from "./protocol";

/**
 * Pauses before connecting again, in milliseconds: a dashboard that is restarted is back within
 * two or three seconds, one that is gone need not be asked every second.
 */
const PAUSE_MS = { first: 300, growth: 1.5, most: 8000 };

export type Connection = "connecting" | "open" | "lost";

export interface Listener {
  hello(hello: Hello): void;
  frame(frame: Frame): void;
  message(message: Message): void;
  connection(state: Connection): void;
}

export class Feed {
  private socket: WebSocket | null = null;
  private pause = PAUSE_MS.first;
  private timer = 0;
  private last: number | null = null;
  private asked = false;
  private version = -1;

  constructor(
    private readonly url: string,
    private readonly listener: Listener,
  ) {}

  start(): void {
    this.connect();
    // Somebody who looks again, or is back in reach, does not wait out the pause.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.hurry();
    });
    window.addEventListener("online", () => this.hurry());
  }

  private hurry(): void {
    if (this.socket !== null) return;
    window.clearTimeout(this.timer);
    this.connect();
  }

  private connect(): void {
    this.listener.connection("connecting");
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.last = null;
    this.asked = false;
    this.version = -1;
    socket.onopen = () => this.listener.connection("open");
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.take(socket, event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.listener.connection("lost");
      // Spread out, so that many pages do not come back to a restarted server at once.
      this.timer = window.setTimeout(() => this.connect(), this.pause * (0.75 + Math.random() / 2));
      this.pause = Math.min(PAUSE_MS.most, PAUSE_MS.growth * this.pause);
    };
  }

  private take(socket: WebSocket, data: string | ArrayBuffer): void {
    if (this.socket !== socket) return;
    try {
      if (typeof data === "string") this.hear(decodeMessage(data));
      else this.follow(socket, decodeFrame(data));
    } catch (error) {
      if (!(error instanceof ProtocolError || error instanceof SyntaxError)) throw error;
      // A server of another version: start afresh, which also fetches what it says now.
      socket.close();
    }
  }

  private hear(message: Message): void {
    if (message.type === "hello") {
      this.version = message.site_version;
      this.last = null;
      this.listener.hello(message);
    } else if (message.type === "resync") {
      this.last = null;
    } else {
      this.listener.message(message);
    }
  }

  private follow(socket: WebSocket, frame: Frame): void {
    this.pause = PAUSE_MS.first;
    const expected = this.last === null || frame.sequence === (this.last + 1) >>> 0;
    const foreign = frame.siteVersion !== this.version;
    if (frame.snapshot && !foreign) {
      this.asked = false;
    } else if ((foreign || !expected) && !this.asked) {
      this.asked = true;
      socket.send(RESYNC);
    }
    // Rows of another site version would name the wrong things.
    if (foreign) return;
    this.last = frame.sequence;
    this.listener.frame(frame);
  }
}
