// The lab's page: begins what all pages share, and shows the one that the address names.

import { Stream, sentenceOf } from "./api.js";
import { BoardPage } from "./board.js";
import { fill, h, setText } from "./dom.js";
import { Frame } from "./frame.js";
import { JobPage, JobsPage } from "./jobs.js";
import { LabPage } from "./lab.js";
import { askForToken } from "./login.js";
import { replaceQuery, routeOf } from "./router.js";
import { RunPage } from "./run.js";
import { RunsPage } from "./runs.js";
import { ServerRun } from "./server.js";

const PAGES = [["#/", "Lab"], ["#/jobs", "Jobs"], ["#/runs", "Runs"]];

const stream = new Stream();
let page = null;
const frame = new Frame(PAGES, (event) => page?.key?.(event) ?? false);
stream.on("state", ({ isOpen }) => setText(frame.state, isOpen ? "" : "no connection: trying again"));
window.addEventListener("hashchange", open);
window.addEventListener("pumice-login", () => askForToken(() => open()));
stream.open();
open();

async function open() {
  const route = routeOf(location.hash);
  // Another line of the run that is shown needs no new page.
  if (page?.address === route.path && page.fromAddress) {
    page.route.query = route.query;
    page.fromAddress();
    return;
  }
  page?.close?.();
  page = pageOf(route);
  page.address = route.path;
  document.title = "Pumice";
  frame.at(`#/${route.names[0] ?? ""}`);
  fill(frame.main, page.element);
  const opened = page;
  try {
    await page.open();
  } catch (error) {
    if (page === opened) fill(frame.main, h("p", { class: "wrong", role: "alert" }, sentenceOf(error)));
  }
}

function pageOf(route) {
  const [kind, name] = route.names;
  if (kind === "jobs") return name ? new JobPage(Number(name), stream) : new JobsPage(route, stream);
  if (kind === "boards" && name) return new BoardPage(name, stream);
  if (kind === "runs" && name) {
    const place = { query: route.query, replace: (query) => replaceQuery(route.path, query) };
    return new RunPage(new ServerRun(name, stream), place, sentenceOf);
  }
  if (kind === "runs") return new RunsPage(route);
  return new LabPage(stream);
}
