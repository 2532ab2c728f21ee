// One run: what it came to, what went on when, its log, its results, its files. Works on the server's data and on data
// that stands in the page alike.

import { h, button, fill, setText } from "./dom.js";
import { filterOf, isEverything, isSameFilter, writeFilter } from "./filter.js";
import { FilterBar } from "./filter_bar.js";
import { Log, shown, timeOfRange } from "./log.js";
import { Results, badge, tallyWords } from "./results.js";
import { Timeline } from "./timeline.js";
import { LEVELS, amount, bytes, clock, duration, longSource, micros, offset, uncertainty, visible } from "./words.js";

export class RunPage {
  // `source`: a ServerRun or an EmbeddedRun. `route`: {query, replace(query)}: the address' words, and what changes them.
  constructor(source, route, sentence) {
    this.source = source;
    this.route = route;
    this.sentence = sentence;
    this.filter = {};
    this.range = null;
    this.ends = [];
    this.head = h("header", { class: "run-head" });
    this.troubles = h("div", { class: "troubles" });
    this.timeline = new Timeline({ chosen: (span) => this.chose(span) });
    this.bar = new FilterBar({ changed: (filter) => this.refilter(filter) });
    this.results = new Results({ chosen: (row) => this.choseRow(row) });
    this.files = h("div", { class: "files-panel" });
    this.count = h("span", { class: "faint count", role: "status" });
    this.details = new Details();
    this.followButton = button("Follow", () => this.log?.follow(true), { class: "choice", hidden: true, "aria-pressed": "false" });
    this.logPanel = h("div", { class: "log-panel" }, this.bar.element);
    this.tabs = new Tabs([["log", "Log", this.logPanel], ["results", "Results", this.results.element], ["files", "Files", this.files]]);
    this.element = h("div", { class: "run" }, this.head, this.troubles, this.timeline.element, this.tabs.element);
  }

  async open() {
    this.data = await this.source.run();
    const { summary } = this.data;
    this.start = micros(summary.started);
    this.log = new Log(this.source, Number.isFinite(this.start) ? this.start : 0, {
      selected: (record, isTold) => this.selected(record, isTold),
      hovered: (record) => this.details.hover(record),
      seen: (from, to) => this.timeline.seen(from, to),
      marked: (range) => this.marked(range),
      count: (...numbers) => this.counted(...numbers),
      failed: (error) => this.bar.fail(this.sentence(error)),
    });
    this.details.start = this.log.start;
    this.logPanel.append(this.log.element, h("div", { class: "log-foot" }, this.details.element, this.count, this.followButton));
    this.draw();
    await this.fromAddress();
    this.ends.push(this.source.watch((grown) => this.grew(grown)));
    this.compare();
    this.listFiles();
  }

  close() {
    clearTimeout(this.timer);
    this.log?.pages.clear();
    for (const end of this.ends) end();
  }

  // Shows what the address says: filters, and a line or a range.
  async fromAddress() {
    const { query } = this.route;
    this.filter = filterOf(query);
    this.bar.show(this.filter);
    const [from, to] = [micros(query.get("t")), micros(query.get("t2"))];
    this.range = Number.isFinite(from) && Number.isFinite(to) ? [from, to] : null;
    this.timeline.mark(this.range);
    const isLive = this.data.state === "running" && this.source.isServed;
    const time = Number.isFinite(from) ? query.get("t") : null;
    if (time !== null) this.tabs.show("log");
    await this.log.show(this.filter, { time, range: this.range, isFollowing: isLive && time === null });
  }

  draw() {
    const { summary, spans, state } = this.data;
    const start = this.start;
    // The lines of a run that goes on are newer than its last event; the clock here may be another one.
    const end = Math.max(summary.ended ? micros(summary.ended) : start, this.log.pages.newest);
    const verdict = summary.verdict ?? (state === "running" ? null : "no end");
    document.title = `${summary.job || summary.run} · ${verdict ?? "running"} · Pumice`;
    fill(this.head,
      h("h1", null, summary.job || summary.run, " ", verdict === null ? h("span", { class: "badge badge-live" }, "running") : badge(verdict)),
      h("dl", { class: "facts" },
        fact("Run", summary.run), fact("Board", summary.board, this.source.isServed ? `#/boards/${encodeURIComponent(summary.board)}` : null),
        fact("Type", summary.board_type), fact("Started", `${clock(summary.started)} UTC`),
        fact("Took", duration(summary.seconds ?? (end - start) / 1e6)), fact("Results", tallyWords(summary.tally))));
    fill(this.troubles, troublesOf(this.data, this.source.isServed, (report) => this.showReport(report)));
    this.timeline.show(spans, start, spans.reduce((most, span) => Math.max(most, micros(span.to ?? span.from)), end));
    this.results.show(summary, this.before ?? null, this.data.previous);
    this.bar.offer(testsOf(summary));
    this.tabs.count("results", this.results.rows.filter((row) => !row.isSuite).length || this.results.rows.length);
    this.followButton.hidden = state !== "running" || !this.source.isServed;
  }

  refilter(filter) {
    if (isSameFilter(filter, this.filter)) return;
    // What was looked at stays in sight, if the new filter takes it.
    const time = this.log.selectedTime;
    this.filter = filter;
    this.bar.show(filter);
    this.writeAddress({ t: time });
    this.log.show(filter, { time, range: this.range, isFollowing: !this.followButton.hidden && time === null });
  }

  chose(span) {
    this.toRange([span.from, span.to]);
  }

  choseRow(row) {
    const kind = row.isSuite ? "test" : "case";
    const name = row.isSuite ? row.suite : row.test;
    const same = this.timeline.spans.filter((span) => span.kind === kind && span.name === name);
    const ended = micros(row.logged);
    const span = same.find((known) => Math.abs(known.to - ended) < 1e6) ?? same[0];
    if (span) this.toRange([span.from, span.to]);
    else this.refilter({ ...this.filter, test: name });
    this.tabs.show("log");
  }

  toRange(range) {
    this.marked(range);
    this.log.mark(range);
    this.tabs.show("log");
    this.log.goTo(timeOfRange(range)[0], false).catch((error) => this.bar.fail(this.sentence(error)));
  }

  marked(range) {
    this.range = range;
    this.timeline.mark(range);
    const [t, t2] = range === null ? [null, null] : timeOfRange(range);
    this.writeAddress({ t, t2 });
  }

  selected(record, isTold) {
    this.details.select(record);
    if (isTold && record !== null && record.host_time) this.writeAddress({ t: this.range === null ? record.host_time : undefined });
  }

  // `t` and `t2`: null takes them away, undefined leaves them.
  writeAddress({ t, t2 }) {
    const query = new URLSearchParams(this.route.query);
    writeFilter(query, this.filter);
    for (const [key, value] of [["t", t], ["t2", t2]]) {
      if (value === null) query.delete(key);
      else if (value !== undefined) query.set(key, value);
    }
    this.route.query = query;
    this.route.replace(query);
  }

  counted(matched, lines, isComplete) {
    const known = isEverything(this.filter) ? `${amount(lines)} lines` : `${amount(matched)} of ${amount(lines)} lines`;
    const text = isComplete ? known : `${known} so far`;
    setText(this.count, text);
    this.tabs.count("log", matched);
    this.followButton.setAttribute("aria-pressed", String(this.log.isFollowing));
  }

  async grew(grown) {
    // The first word on a run that is over says nothing new.
    if (grown !== null && grown.state === this.data.state && grown.state !== "running" && grown.lines === this.log.pages.lines) return;
    if (grown === null || grown.state !== this.data.state) await this.reload();
    else this.reloadSoon();
    await this.log.grew(grown?.generation ?? null);
  }

  // Spans and results follow the log a little later: they cost more.
  reloadSoon() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.reload();
    }, 1500);
  }

  async reload() {
    try {
      this.data = await this.source.run();
      this.draw();
      if (this.data.state !== "running") this.listFiles();
    } catch (error) {
      this.bar.fail(this.sentence(error));
    }
  }

  async compare() {
    try {
      this.before = await this.source.previous(this.data.previous);
      if (this.before) this.draw();
    } catch {
      // The run before may have been removed: there is nothing to compare with.
    }
  }

  async listFiles() {
    try {
      const files = await this.source.files();
      this.tabs.count("files", files.length);
      fill(this.files, fileTable(files, this.source));
    } catch (error) {
      fill(this.files, h("p", { class: "wrong" }, this.sentence(error)));
    }
  }

  showReport(report) {
    this.tabs.show("log");
    const text = report.title.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    this.refilter({ source: report.source === "pstore" ? "console" : report.source, grep: text.slice(0, 200) });
  }

  // Does what a key means here; returns whether it means something.
  key(event) {
    if (event.key === "/") {
      this.tabs.show("log");
      this.bar.focusSearch();
    } else if (event.key === "Escape") {
      if (this.range === null) return false;
      this.log.mark(null);
      this.marked(null);
    } else if (event.key === "f" && !this.followButton.hidden) {
      this.log.follow(!this.log.isFollowing);
    } else if (event.key === "K") {
      this.refilter(this.filter.source === "kernel" ? { ...this.filter, source: undefined } : { ...this.filter, source: "kernel" });
    } else if (this.tabs.current === "log" && this.log.key(event)) {
      this.log.box.focus({ preventScroll: true });
    } else {
      return false;
    }
    return true;
  }
}

// The line that the pointer or the selection is on, with its times and its whole text. Always of one height.
class Details {
  constructor() {
    this.selected = null;
    this.facts = h("p", { class: "detail-facts" });
    this.text = h("p", { class: "detail-text" });
    this.element = h("div", { class: "details", role: "region", "aria-label": "Line", tabindex: "0" }, this.facts, this.text);
    this.show(null);
  }

  select(record) {
    this.selected = record;
    this.show(record);
  }

  hover(record) {
    this.show(record ?? this.selected);
  }

  show(record) {
    if (record === null) {
      setText(this.facts, "No line is selected.");
      setText(this.text, "");
      return;
    }
    const facts = [
      `line ${amount(record.n + 1)}`, longSource(record.source), record.level === undefined ? null : LEVELS[record.level],
      `host ${clock(record.host_time)}${record.host_time.slice(19, 26)} (${offset(record.us - this.start)} s)`, uncertainty(record.uncertainty_us),
      record.board_time_us === undefined ? "no board time" : `board ${offset(record.board_time_us)} s`,
      record.suite ? `${record.suite}${record.case ? `/${record.case}` : ""}` : null,
      record.sequence === undefined ? null : `sequence ${record.sequence}`, record.facility === undefined ? null : `facility ${record.facility}`,
    ];
    setText(this.facts, facts.filter(Boolean).join(" · "));
    setText(this.text, record.text === "" ? shown(record) : visible(record.text));
  }
}

// Panels, one of which is seen. Arrows move between the tabs.
class Tabs {
  constructor(tabs) {
    this.tabs = tabs.map(([name, label, panel]) => {
      const count = h("span", { class: "tab-count" });
      const tab = button(label, () => this.show(name), { role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, class: "tab" });
      tab.append(count);
      const frame = h("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, class: "panel" }, panel);
      return { name, tab, frame, number: count };
    });
    const list = h("div", { role: "tablist", class: "tabs", "aria-label": "Log, results, files" }, this.tabs.map(({ tab }) => tab));
    list.addEventListener("keydown", (event) => this.key(event));
    this.element = h("section", { class: "tabbed" }, list, this.tabs.map(({ frame }) => frame));
    this.show(tabs[0][0]);
  }

  show(name) {
    this.current = name;
    for (const { name: other, tab, frame } of this.tabs) {
      tab.setAttribute("aria-selected", String(other === name));
      tab.tabIndex = other === name ? 0 : -1;
      frame.hidden = other !== name;
    }
  }

  count(name, count) {
    const tab = this.tabs.find((known) => known.name === name);
    setText(tab.number, amount(count));
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const index = this.tabs.findIndex((known) => known.name === this.current);
    const next = this.tabs[(index + move + this.tabs.length) % this.tabs.length];
    this.show(next.name);
    next.tab.focus();
  }
}

function fact(name, value, href) {
  if (!value) return null;
  return h("div", null, h("dt", null, name), h("dd", null, href ? h("a", { href }, value) : value));
}

function troublesOf({ summary, state, left_out: leftOut }, isLive, showReport) {
  const parts = [];
  for (const error of summary.errors ?? []) {
    const words = [h("strong", null, error.class), ` ${visible(error.message)}`];
    parts.push(error.console_tail ? unfolding("bad", words, lines(error.console_tail)) : h("p", { class: "trouble bad" }, words));
  }
  const reports = [...(summary.kernel_reports ?? []), ...(summary.suites ?? []).flatMap((suite) => suite.kernel_reports ?? [])];
  for (const report of reports.slice(0, REPORTS_SHOWN)) {
    const place = report.suite ? ` in ${report.suite}${report.case ? `/${report.case}` : ""}` : "";
    parts.push(unfolding("odd", [h("strong", null, `kernel ${report.kind}`), ` ${visible(report.title)}`, h("span", { class: "faint" }, place)],
      lines(report.text), button("Show it in the log", () => showReport(report))));
  }
  if (reports.length > REPORTS_SHOWN) parts.push(h("p", { class: "trouble odd" }, `${reports.length - REPORTS_SHOWN} kernel reports more`));
  if (state === "running" && !isLive) parts.push(h("p", { class: "trouble odd" }, "This page was written while the run went on."));
  if (state === "abandoned") parts.push(h("p", { class: "trouble odd" }, "The run has no end: the dispatcher that wrote it is gone."));
  if (leftOut) parts.push(h("p", { class: "trouble odd" }, `This page leaves out ${amount(leftOut)} lines from the middle of the log; `, h("code", null, "pumice log"), " shows all."));
  const warnings = summary.warnings ?? [];
  if (warnings.length > 0) {
    parts.push(unfolding("", warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`, h("ul", null, warnings.map((text) => h("li", null, visible(text))))));
  }
  return parts;
}

// A line that shows more when it is asked to.
function unfolding(kind, words, ...more) {
  return h("details", { class: `trouble ${kind}` }, h("summary", null, words), more);
}

function lines(text) {
  return h("pre", { tabindex: "0" }, text.split("\n").map((line) => `${visible(line.replace(/\r$/, ""))}\n`));
}

// The others are among the results of their suites.
const REPORTS_SHOWN = 20;

function testsOf(summary) {
  return (summary.suites ?? []).flatMap((suite) => [suite.suite, ...(suite.cases ?? []).map((item) => `${suite.suite}/${item.case}`)]);
}

function fileTable(files, source) {
  const forms = source.isServed ? h("p", { class: "faint" }, "Results as ", ["junit", "tap", "csv", "lava", "json"].flatMap((format, index) =>
    [index > 0 ? ", " : "", h("a", { href: source.resultsAddress(format), download: true }, format)])) : h("p", { class: "faint" }, "They lie in the run directory that this page was made of.");
  const rows = files.map((file) => h("tr", null,
    h("th", { scope: "row" }, source.isServed ? h("a", { href: source.fileAddress(file.path), download: true }, visible(file.path)) : visible(file.path)),
    h("td", { class: "number" }, bytes(file.bytes))));
  return [forms, h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Files" }, h("table", null, h("caption", { class: "hidden-words" }, "Files of the run"),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "File"), h("th", { scope: "col" }, "Size"))), h("tbody", null, rows)))];
}
