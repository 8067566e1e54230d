import { defineConfig } from "vite";

// In development the page is served by Vite and the API by a running `balise demo`.
const api = "http://127.0.0.1:8000";

export default defineConfig({
  // Relative addresses, so that the page also works below a path of a reverse proxy.
  base: "./",
  build: {
    target: "es2022",
    // Nothing becomes a data: address, which the content security policy would refuse.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": { target: api, ws: true } } },
});
