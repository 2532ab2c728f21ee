// The results of a run: suites and cases with measurements and reasons, and what is different from the run before.

import { h, button, fill } from "./dom.js";
import { amount, duration, visible } from "./words.js";

// More rows are shown when they are asked for: a browser lays out ten thousand slowly, and nobody reads them.
const ROWS = 300;
const GOOD = new Set(["pass", "skip"]);

// The results of a summary as rows: {test, suite, set, case, result, measurement, units, seconds, why, reference}.
export function rowsOf(summary) {
  const rows = [];
  for (const suite of summary.suites ?? []) {
    const cases = suite.cases ?? [];
    const own = { suite: suite.suite, test: suite.suite, isSuite: true, result: suite.result, seconds: suite.seconds, why: endOf(suite), count: cases.length };
    rows.push(own);
    for (const item of cases) rows.push({ ...item, suite: suite.suite, test: `${suite.suite}/${item.case}` });
  }
  return rows;
}

// What rows were in another run: a map from a row's key to its result. Names that come again are told apart by their number.
export function keyed(rows) {
  const [seen, map] = [new Map(), new Map()];
  for (const row of rows) {
    const name = JSON.stringify([row.suite, row.set ?? null, row.case ?? null]);
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    row.key = `${name}${count}`;
    map.set(row.key, row);
  }
  return map;
}

export class Results {
  // `told.chosen(row)`: a row was chosen.
  constructor(told) {
    this.told = told;
    this.rows = [];
    this.before = null;
    this.kind = "all";
    this.limit = ROWS;
    this.body = h("tbody");
    this.more = h("p", { class: "more" });
    this.kinds = h("div", { class: "choices", role: "group", "aria-label": "Which results" });
    const heads = ["Test", "Result", "Measurement", "Time", "Why"].map((name) => h("th", { scope: "col" }, name));
    this.table = h("table", { class: "results" }, h("caption", { class: "hidden-words" }, "Results"), h("thead", null, h("tr", null, heads)), this.body);
    this.element = h("div", { class: "results-panel" }, this.kinds, h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Results" }, this.table), this.more);
  }

  show(summary, previous, previousName) {
    this.rows = rowsOf(summary);
    keyed(this.rows);
    this.before = previous ? keyed(rowsOf(previous)) : null;
    this.previousName = previousName;
    for (const row of this.rows) row.change = this.changeOf(row);
    const now = new Set(this.rows.map((row) => row.key));
    this.gone = this.before ? [...this.before.values()].filter((row) => !now.has(row.key) && !row.isSuite) : [];
    if (this.kind === "changed" && this.before === null) this.kind = "all";
    this.draw();
  }

  // What a row was before, where that is something else.
  changeOf(row) {
    if (this.before === null) return null;
    const before = this.before.get(row.key);
    if (before === undefined) return "new";
    return before.result === row.result ? null : `was ${before.result}`;
  }

  draw() {
    const bad = this.rows.filter((row) => !GOOD.has(row.result));
    const changed = this.rows.filter((row) => row.change !== null);
    const gone = this.gone.map((row) => ({ ...row, isGone: true, result: "unknown", why: null, change: `not in this run; was ${row.result}` }));
    const sets = { all: this.rows, bad, changed: [...changed, ...gone] };
    const choices = [["all", "All"], ["bad", "Not passed"]];
    if (this.before !== null) choices.push(["changed", "Changed"]);
    fill(this.kinds, choices.map(([kind, label]) =>
      button(`${label} ${amount(sets[kind].length)}`, () => this.choose(kind), { class: "choice", "aria-pressed": String(kind === this.kind) })),
      this.before === null ? null : h("span", { class: "faint" }, "compared with ", h("a", { href: `#/runs/${encodeURIComponent(this.previousName)}` }, this.previousName)));
    const rows = sets[this.kind];
    fill(this.body, rows.length === 0 ? emptyRow(this.kind) : rows.slice(0, this.limit).map((row) => this.row(row)));
    const left = rows.length - this.limit;
    fill(this.more, left > 0 ? button(`Show ${amount(Math.min(left, 1000))} more of ${amount(left)}`, () => {
      this.limit += 1000;
      this.draw();
    }) : null);
  }

  choose(kind) {
    const hadFocus = this.kinds.contains(document.activeElement);
    this.kind = kind;
    this.limit = ROWS;
    this.draw();
    if (hadFocus) this.kinds.querySelector("[aria-pressed=true]")?.focus();
  }

  row(row) {
    const name = row.isSuite ? row.suite : `${row.set ? `${row.set} / ` : ""}${row.case}`;
    const chooser = row.isGone ? h("span", null, visible(`${row.suite} / ${name}`))
      : button(visible(name), () => this.told.chosen(row), { class: "link", "aria-label": visible(`${row.test}: show it in the log`) });
    const measured = row.measurement === undefined ? "" : `${row.measurement}${row.units ? ` ${row.units}` : ""}`;
    return h("tr", { class: row.isSuite ? "suite" : "case" },
      h("th", { scope: "row" }, chooser),
      h("td", null, row.isGone ? null : badge(row.result), row.change ? h("span", { class: "change" }, row.change) : null),
      h("td", { class: "number" }, visible(measured)),
      h("td", { class: "number" }, duration(row.seconds || null)),
      h("td", { class: "why" }, whyOf(row)));
  }
}

// A result or a verdict as a coloured word.
export function badge(word) {
  const kind = { pass: "good", passed: "good", skip: "skip", unknown: "odd", failed: "bad", fail: "bad" }[word] ?? "bad";
  return h("span", { class: `badge badge-${kind}` }, word);
}

// A tally in words.
export function tallyWords(tally) {
  const words = [["pass", "passed"], ["fail", "failed"], ["unknown", "unknown"], ["skip", "skipped"]];
  return words.filter(([key]) => tally?.[key] > 0).map(([key, word]) => `${amount(tally[key])} ${word}`).join(", ") || "no results";
}

function whyOf(row) {
  const parts = [row.why, !row.isSuite && row.end ? endWords(row.end) : null].filter(Boolean);
  const text = visible([...new Set(parts)].join(" · "));
  if (!row.reference) return text;
  // Not a link: where it leads is the board's word.
  return [text, text ? " · " : "", h("span", { class: "faint" }, visible(row.reference))];
}

function endOf(suite) {
  if (suite.end === null || suite.end === undefined) return "its end was not seen";
  const words = suite.end.exited?.status === 0 ? null : endWords(suite.end);
  const report = suite.kernel_reports?.[0];
  return [report ? `kernel ${report.kind}: ${report.title}` : null, words].filter(Boolean).join(" · ") || null;
}

function endWords(end) {
  if (end === "timed_out") return "timeout";
  if (end === "rebooted") return "restarted the board";
  if (end.exited) return end.exited.status === 0 ? null : `exit status ${end.exited.status}`;
  if (end.signaled) return `killed by signal ${end.signaled.signal}`;
  return end.not_run ? `not run: ${end.not_run.why}` : null;
}

function emptyRow(kind) {
  const text = { all: "No results.", bad: "Everything passed.", changed: "Nothing is different." }[kind];
  return h("tr", null, h("td", { colspan: "5", class: "faint" }, text));
}
