// The page of one run whose data stands in it: what `pumice report` writes.

import { EmbeddedRun } from "./embedded.js";
import { Frame } from "./frame.js";
import { RunPage } from "./run.js";

const place = {
  query: new URLSearchParams(location.hash.replace(/^#\/?\??/, "")),
  replace(query) {
    history.replaceState(null, "", `#?${query}`);
  },
};
let page = null;
const frame = new Frame([], (event) => page.key(event));
page = new RunPage(new EmbeddedRun(), place, (error) => String(error.message ?? error));
frame.main.append(page.element);
window.addEventListener("hashchange", () => {
  place.query = new URLSearchParams(location.hash.replace(/^#\/?\??/, ""));
  page.fromAddress();
});
page.open();
