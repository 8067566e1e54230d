/** A long list of which only the rows in sight are in the document. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

/** As in the style sheet. */
const ROW_PX = 52;
/** Rows beyond the edges, so that scrolling and tabbing find them there. */
const SPARE = 6;

export interface WindowListProps {
  label: string;
  count: number;
  /** A row to bring into sight when it changes. */
  reveal: number | null;
  render: (index: number) => ComponentChildren;
}

export function WindowList({ label, count, reveal, render }: WindowListProps) {
  const box = useRef<HTMLDivElement>(null);
  const sight = useSignal({ top: 0, height: 600 });

  useLayoutEffect(() => {
    const element = box.current!;
    const look = (): void => {
      sight.value = { top: element.scrollTop, height: element.clientHeight };
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);

  useEffect(() => {
    const element = box.current!;
    if (reveal === null) return;
    const top = reveal * ROW_PX;
    const inSight = top >= element.scrollTop && top + ROW_PX <= element.scrollTop + element.clientHeight;
    if (!inSight) element.scrollTop = top - element.clientHeight / 2 + ROW_PX / 2;
  }, [reveal]);

  const { top, height } = sight.value;
  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE);
  const last = Math.min(count, Math.ceil((top + height) / ROW_PX) + SPARE);
  return (
    <div class="window" ref={box}>
      <ul aria-label={label} style={{ height: `${count * ROW_PX}px` }}>
        {Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i).map((index) => (
          <li
            key={index}
            aria-setsize={count}
            aria-posinset={index + 1}
            style={{ transform: `translateY(${index * ROW_PX}px)` }}
          >
            {render(index)}
          </li>
        ))}
      </ul>
    </div>
  );
}
