// The exchange of a browser's tabs in a SharedWorker: it lives as long as one of them is open.

import { Exchange } from "./exchange.js";

const exchange = new Exchange();
self.addEventListener("connect", (event) => exchange.connect(event.ports[0]));
self.addEventListener("online", () => exchange.check());
self.addEventListener("offline", () => exchange.check());
