/** The page's frame: top bar, map, panel. */

import { useEffect } from "preact/hooks";

import { Logo } from "./glyphs";
import { MapView } from "./map/map-view";
import { useModel } from "./model";
import { Card } from "./panel/card";
import { Panel } from "./panel/panel";
import { Search } from "./panel/search";
import { FeedStatus } from "./panel/status";

export function App() {
  const model = useModel();
  const site = model.site.value;
  useEffect(() => {
    document.title = site === null ? "Balise" : `${site.name} · Balise`;
  }, [site]);
  return (
    <div class="app">
      <header class="bar">
        <h1 class="brand">
          <Logo />
          <span class="wordmark">Balise</span>
          <span class="site" title={site?.name ?? ""}>
            {site?.name ?? ""}
          </span>
        </h1>
        <Search />
        <FeedStatus />
      </header>
      <main class="stage">
        <MapView />
        <Card />
      </main>
      <Panel />
      <p class="notice" role="status">
        {model.notice.value}
      </p>
    </div>
  );
}
