import { render } from "preact";

import { App } from "./app";
import { Model, ModelContext } from "./model";
import "./styles/theme.css";
import "./styles/frame.css";
import "./styles/map.css";
import "./styles/panel.css";
import "./styles/narrow.css";

const model = new Model();
render(
  <ModelContext.Provider value={model}>
    <App />
  </ModelContext.Provider>,
  document.getElementById("page")!,
);
model.start();
