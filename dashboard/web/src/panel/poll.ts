/** Fetches something while a component shows it, again and again. */

import { useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { ApiError, get } from "../api";

export interface Polled<T> {
  data: Signal<T | null>;
  trouble: Signal<string>;
  refresh: () => void;
}

export function usePolled<T>(path: string, everyMs: number): Polled<T> {
  const data = useSignal<T | null>(null);
  const trouble = useSignal("");
  const asked = useSignal(0);
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    const fetchNow = async (): Promise<void> => {
      try {
        data.value = await get<T>(path, stop.signal);
        trouble.value = "";
      } catch (error) {
        if (stop.signal.aborted) return;
        trouble.value = error instanceof ApiError ? error.message : String(error);
      }
      timer = window.setTimeout(() => void fetchNow(), everyMs);
    };
    void fetchNow();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
  }, [path, everyMs, asked.value]);
  return { data, trouble, refresh: () => asked.value++ };
}
