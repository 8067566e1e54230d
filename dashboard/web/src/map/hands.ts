/** Pointer, wheel and keys on the map, as calls on what moves it. */

/** A pointer that moves less than this between down and up has clicked, pixels. */
const CLICK_PX = 6;
/** How much a wheel's step zooms; pinches on a touch pad come as small steps with ctrl. */
const WHEEL_RATE = 0.0016;
const PINCH_RATE = 0.011;
const LINE_PX = 18;
const KEY_PAN_PX = 90;
const KEY_ZOOM = 1.5;

export interface Movable {
  drag(dx: number, dy: number): void;
  zoom(px: number, py: number, factor: number): void;
  step(dx: number, dy: number, factor: number): void;
  fitAll(): void;
  click(px: number, py: number, touch: boolean): void;
  hover(px: number | null, py: number | null): void;
  escape(): void;
}

export function listen(element: HTMLElement, map: Movable): () => void {
  const stop = new AbortController();
  const options = { signal: stop.signal };
  pointers(element, map, options);
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const delta = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PX : 1);
      const capped = Math.max(-240, Math.min(240, delta));
      const [px, py] = place(element, event);
      map.zoom(px, py, Math.exp(-capped * (event.ctrlKey ? PINCH_RATE : WHEEL_RATE)));
    },
    { ...options, passive: false },
  );
  element.addEventListener("dblclick", (event) => {
    const [px, py] = place(element, event);
    map.zoom(px, py, 2);
  }, options);
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key(event.key, map)) event.preventDefault();
  }, options);
  return () => stop.abort();
}

function key(name: string, map: Movable): boolean {
  switch (name) {
    case "ArrowLeft":
      map.step(KEY_PAN_PX, 0, 1);
      return true;
    case "ArrowRight":
      map.step(-KEY_PAN_PX, 0, 1);
      return true;
    case "ArrowUp":
      map.step(0, KEY_PAN_PX, 1);
      return true;
    case "ArrowDown":
      map.step(0, -KEY_PAN_PX, 1);
      return true;
    case "+":
    case "=":
      map.step(0, 0, KEY_ZOOM);
      return true;
    case "-":
    case "_":
      map.step(0, 0, 1 / KEY_ZOOM);
      return true;
    case "0":
    case "f":
      map.fitAll();
      return true;
    case "Escape":
      map.escape();
      return true;
    default:
      return false;
  }
}

function pointers(element: HTMLElement, map: Movable, options: { signal: AbortSignal }): void {
  const down = new Map<number, [number, number]>();
  let moved = 0;

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    if (down.size === 0) moved = 0;
    down.set(event.pointerId, place(element, event));
  }, options);

  element.addEventListener("pointermove", (event) => {
    const now = place(element, event);
    const before = down.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType === "mouse") map.hover(now[0], now[1]);
      return;
    }
    const step = Math.hypot(now[0] - before[0], now[1] - before[1]);
    moved += step;
    if (moved < CLICK_PX) return;
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    down.set(event.pointerId, now);
    if (other === undefined) {
      element.classList.add("dragging");
      map.drag(now[0] - before[0], now[1] - before[1]);
    } else {
      pinch(map, before, now, other);
    }
  }, options);

  const lift = (event: PointerEvent): void => {
    const at = down.get(event.pointerId);
    if (at === undefined) return;
    down.delete(event.pointerId);
    if (down.size === 0) element.classList.remove("dragging");
    if (event.type === "pointerup" && down.size === 0 && moved < CLICK_PX) {
      map.click(at[0], at[1], event.pointerType !== "mouse");
    }
  };
  element.addEventListener("pointerup", lift, options);
  element.addEventListener("pointercancel", lift, options);
  element.addEventListener("pointerleave", () => map.hover(null, null), options);
}

/** One of two fingers moved: zooms by the change of their distance, pans with their middle. */
function pinch(
  map: Movable,
  before: [number, number],
  now: [number, number],
  other: [number, number],
): void {
  const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
  const is = Math.hypot(now[0] - other[0], now[1] - other[1]);
  map.drag((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  if (was > 0 && is > 0) map.zoom((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, is / was);
}

function place(element: HTMLElement, event: MouseEvent): [number, number] {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}
