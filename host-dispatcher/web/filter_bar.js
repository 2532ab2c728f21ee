// What chooses which lines of a log are shown: sources, level, test, text, time.

import { h, button, fill } from "./dom.js";
import { LEVELS, SOURCES, longSource } from "./words.js";

// What is typed is taken when nothing more comes for so long.
const PAUSE_MS = 250;

export class FilterBar {
  // `told.changed(filter)`: another filter is wanted. `tests`: names that the field for tests offers.
  constructor(told) {
    this.told = told;
    this.filter = {};
    this.sources = SOURCES.map((source) => button(longSource(source), (event) => this.toggle(source, event), {
      class: `choice source-choice source-${source}`, "aria-pressed": "false", "data-source": source,
      title: "Click: only this source, or all again. Shift or Ctrl: this one too." }));
    this.level = h("select", { "aria-label": "Kernel level", on: { change: () => this.set({ level: this.level.value }) } },
      h("option", { value: "" }, "any level"), LEVELS.map((name, level) => h("option", { value: level }, level === 0 ? name : `${name} and graver`)));
    this.names = h("datalist", { id: "test-names" });
    this.test = this.field("Test", "suite or suite/case", "test", { list: "test-names" });
    this.grep = this.field("Search", "search: a regular expression", "grep", { type: "search" });
    this.clear = button("Clear", () => this.told.changed({}), { class: "quiet", hidden: true });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.element = h("div", { class: "filters", role: "search", "aria-label": "Filters of the log" },
      h("div", { class: "choices", role: "group", "aria-label": "Sources" }, this.sources),
      h("div", { class: "fields" }, this.level, this.test, this.grep, this.clear, this.names), this.wrong);
  }

  // Shows a filter.
  show(filter) {
    this.filter = filter;
    const chosen = new Set((filter.source ?? "").split(",").filter(Boolean));
    for (const choice of this.sources) choice.setAttribute("aria-pressed", String(chosen.has(choice.dataset.source)));
    this.level.value = filter.level ?? "";
    for (const key of ["test", "grep"]) {
      if (document.activeElement !== this[key]) this[key].value = filter[key] ?? "";
    }
    this.clear.hidden = Object.keys(filter).length === 0;
    this.fail(null);
  }

  // The names that may be typed as a test.
  offer(names) {
    fill(this.names, names.slice(0, 500).map((name) => h("option", { value: name })));
  }

  // Says what is wrong with what was typed.
  fail(message) {
    this.wrong.hidden = message === null;
    fill(this.wrong, message);
    this.grep.setAttribute("aria-invalid", String(message !== null));
  }

  focusSearch() {
    this.grep.focus();
    this.grep.select();
  }

  toggle(source, event) {
    const chosen = new Set((this.filter.source ?? "").split(",").filter(Boolean));
    const isMore = event.shiftKey || event.ctrlKey || event.metaKey;
    const wasOnly = chosen.size === 1 && chosen.has(source);
    if (isMore) {
      if (!chosen.delete(source)) chosen.add(source);
    } else {
      chosen.clear();
      if (!wasOnly) chosen.add(source);
    }
    this.set({ source: SOURCES.filter((name) => chosen.has(name)).join(",") });
  }

  set(change) {
    const filter = { ...this.filter, ...change };
    for (const key of Object.keys(filter)) if (filter[key] === "" || filter[key] === null) delete filter[key];
    this.told.changed(filter);
  }

  field(label, hint, key, attributes) {
    let timer = null;
    const take = () => {
      clearTimeout(timer);
      if ((this.filter[key] ?? "") !== input.value.trim()) this.set({ [key]: input.value.trim() });
    };
    const input = h("input", { type: "text", class: `field-${key}`, placeholder: hint, "aria-label": label, spellcheck: "false", autocomplete: "off", maxlength: "500",
      ...attributes, on: {
        input: () => {
          clearTimeout(timer);
          timer = setTimeout(take, PAUSE_MS);
        },
        change: take,
      } });
    return input;
  }
}
