/** How fresh the map is: in the top bar always, over the map when it is stale. */

import { useModel } from "../model";
import { clock, since } from "../text";

export function FeedStatus() {
  const model = useModel();
  void model.beat.value;
  const time = clock(model.site.value?.timezone ?? "UTC");
  const live = !model.stale.value && model.feedTime > 0;
  return (
    <dl class={`feed ${live ? "is-live" : "is-stale"}`}>
      <div class="state">
        <dt class="hidden">Feed</dt>
        <dd>{live ? "Live" : model.feedTime > 0 ? "Stale" : "Connecting"}</dd>
      </div>
      <div>
        <dt>Updated</dt>
        <dd class="figures">{model.feedTime > 0 ? time(model.feedTime) : "–"}</dd>
      </div>
      <div>
        <dt>Now</dt>
        <dd class="figures">{time(model.clock())}</dd>
      </div>
    </dl>
  );
}

/** The banner of a stale feed. What ticks in it stays out of the live region, which is read out. */
export function Banner() {
  const model = useModel();
  void model.beat.value;
  const stale = model.stale.value;
  const lost = model.connection.value !== "open";
  const time = clock(model.site.value?.timezone ?? "UTC");
  return (
    <div class="banner" data-shown={String(stale)}>
      <strong role="status">
        {stale && (lost ? "The connection is lost; connecting again." : "No positions are coming in.")}
      </strong>
      {stale && model.feedTime > 0 && (
        <span class="figures">
          Last update {time(model.feedTime)}, {since(model.now() - model.feedTime)} ago. It is{" "}
          {time(model.clock())}.
        </span>
      )}
      {stale && model.feedTime === 0 && <span>There has been no update yet.</span>}
    </div>
  );
}
