// One script for the page and for its worker: it looks where it runs.

import { startApp } from "./app.mjs";
import { serveTraining } from "./train.mjs";

if (typeof document === "undefined") serveTraining(globalThis);
else startApp(document.currentScript.textContent);
