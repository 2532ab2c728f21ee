// The runs of the lab, the newest first.

import { get, sentenceOf } from "./api.js";
import { button, fill, h, setText } from "./dom.js";
import { badge, tallyWords } from "./results.js";
import { hashOf, replaceQuery } from "./router.js";
import { clock, duration } from "./words.js";

const AT_ONCE = 50;

export class RunsPage {
  constructor(route) {
    this.query = route.query;
    this.runs = [];
    this.list = h("div", { class: "page" });
    this.more = button("Older ones", () => this.read(this.runs.at(-1)?.run), { hidden: true });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    const field = (name) => h("input", { type: "search", "aria-label": name, placeholder: name, value: this.query.get(name) ?? "", on: { change: (event) => this.filter(name, event.target.value.trim()) } });
    this.element = h("div", { class: "page" }, h("h1", null, "Runs"), h("div", { class: "bar-of-buttons", role: "search", "aria-label": "Filters of runs" }, field("job"), field("board")),
      this.wrong, h("div", { class: "panel-box" }, this.list, this.more));
  }

  async open() {
    await this.read();
  }

  filter(name, value) {
    if (value) this.query.set(name, value);
    else this.query.delete(name);
    replaceQuery("/runs", this.query);
    this.read().catch((error) => setText(this.wrong, sentenceOf(error)));
  }

  async read(before) {
    const { runs, more } = await get("/runs", { job: this.query.get("job"), board: this.query.get("board"), before, limit: AT_ONCE });
    this.runs = before === undefined ? runs : [...this.runs, ...runs];
    setText(this.wrong, "");
    this.more.hidden = !more;
    const heads = ["Run", "Verdict", "Board", "Results", "Started (UTC)", "Took"].map((name) => h("th", { scope: "col" }, name));
    fill(this.list, this.runs.length === 0 ? h("p", { class: "faint" }, "No such run.") : h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" },
      h("table", null, h("caption", { class: "hidden-words" }, "Runs"), h("thead", null, h("tr", null, heads)), h("tbody", null, this.runs.map(row)))));
  }
}

function row(run) {
  return h("tr", null, h("th", { scope: "row" }, h("a", { href: hashOf(["runs", run.run]) }, run.run)), h("td", null, run.verdict ? badge(run.verdict) : h("span", { class: "badge badge-live" }, "no end yet")),
    h("td", null, h("a", { href: hashOf(["boards", run.board]) }, run.board)), h("td", null, tallyWords(run.tally)), h("td", { class: "number" }, clock(run.started)), h("td", { class: "number" }, duration(run.seconds)));
}
