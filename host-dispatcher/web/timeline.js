// What went on when: phases, actions, suites and cases as bars over one axis of time. One stop of the Tab key; arrows move
// from bar to bar.

import { h, button, fill, setText } from "./dom.js";
import { duration, micros, offset, visible } from "./words.js";

const KINDS = [["phase", "Phases"], ["action", "Actions"], ["test", "Suites"], ["case", "Cases"]];
// Narrower ones are drawn as one.
const NARROW_PX = 3;
const HUES = { off: "off", unknown: "off", "powering on": "boot", "boot loader": "boot", "booting master": "boot", "booting test": "boot",
  "up master": "master", "up test": "test", broken: "broken" };

export class Timeline {
  // Tells `told.chosen(span)` when a bar is chosen: its name, kind, result, and from and to in microseconds.
  constructor(told) {
    this.told = told;
    this.spans = [];
    this.current = null;
    this.view = null;
    this.lanes = KINDS.map(([kind, label]) => ({ kind, label, element: h("div", { class: `lane lane-${kind}`, role: "group", "aria-label": label }) }));
    this.axis = h("div", { class: "axis", "aria-hidden": "true" });
    this.window = h("div", { class: "window", "aria-hidden": "true" });
    this.marked = h("div", { class: "marked", "aria-hidden": "true" });
    this.drawing = h("div", { class: "lanes" }, this.axis, this.lanes.map((lane) => lane.element), this.marked, this.window);
    this.caption = h("p", { class: "timeline-caption" });
    this.fit = button("Whole run", () => this.zoom(null), { class: "quiet", hidden: true });
    const names = h("div", { class: "lane-names", "aria-hidden": "true" }, h("span"), KINDS.map(([, label]) => h("span", null, label)));
    this.element = h("section", { class: "timeline", "aria-label": "Timeline of the run" },
      h("div", { class: "timeline-grid" }, names, this.drawing), h("div", { class: "timeline-foot" }, this.caption, this.fit));
    this.drawing.addEventListener("keydown", (event) => this.key(event));
    this.drawing.addEventListener("mouseleave", () => this.describe(null));
    new ResizeObserver(() => this.draw()).observe(this.drawing);
    this.describe(null);
  }

  // The run's spans, its start and its end (now, while it goes on) in microseconds.
  show(spans, start, end) {
    this.start = start;
    this.end = Math.max(end, start + 1);
    this.spans = spans.map((span) => {
      const from = micros(span.from);
      const to = span.to === null ? this.end : micros(span.to);
      return { ...span, from, to: Math.max(from, to), isOpen: span.to === null };
    });
    this.draw();
  }

  // What of the time the log shows at the moment.
  seen(from, to) {
    this.place(this.window, from, to);
  }

  // The range that is marked in the log; null for none.
  mark(range) {
    this.range = range;
    this.marked.hidden = range === null;
    if (range !== null) this.place(this.marked, range[0], range[1]);
  }

  zoom(range) {
    const room = range === null ? 0 : Math.max((range[1] - range[0]) * 0.05, 1000);
    this.view = range === null ? null : [range[0] - room, range[1] + room];
    this.fit.hidden = range === null;
    this.draw();
  }

  draw() {
    const width = this.drawing.clientWidth;
    if (width === 0) return;
    for (const lane of this.lanes) {
      const bars = merged(this.spans.filter((span) => span.kind === lane.kind), ...this.shown(), width);
      lane.bars = bars;
      fill(lane.element, bars.map((span) => this.bar(span, width)));
    }
    this.drawAxis(width);
    this.mark(this.range ?? null);
    this.roving();
  }

  shown() {
    return this.view ?? [this.start, this.end];
  }

  bar(span, width) {
    const hue = span.kind === "phase" ? `phase-${HUES[span.name] ?? "off"}` : `result-${span.result ?? (span.isOpen ? "running" : "none")}`;
    const chosen = () => this.told.chosen(span);
    const element = h("button", { type: "button", class: `bar ${hue}`, tabindex: "-1", "aria-label": this.sentence(span), on: {
      click: chosen,
      dblclick: () => this.zoom([span.from, span.to]),
      mouseenter: () => this.describe(span),
      focus: () => this.focused(span),
    } });
    const [from, to] = this.shown();
    const left = ((span.from - from) / (to - from)) * width;
    const right = ((span.to - from) / (to - from)) * width;
    element.style.left = `${Math.max(0, left)}px`;
    element.style.width = `${Math.max(NARROW_PX, Math.min(width, right) - Math.max(0, left) - 1)}px`;
    if (right - left > 30) element.append(h("span", { class: "bar-name" }, visible(span.name)));
    span.element = element;
    return element;
  }

  drawAxis(width) {
    const [from, to] = this.shown();
    const step = niceStep((to - from) / Math.max(2, width / 90));
    const ticks = [];
    for (let at = Math.ceil((from - this.start) / step) * step; at <= to - this.start; at += step) {
      const tick = h("span", { class: "tick" }, axisLabel(at, step));
      const left = ((at + this.start - from) / (to - from)) * width;
      if (left > width - 34) break;
      tick.style.left = `${left}px`;
      ticks.push(tick);
    }
    fill(this.axis, ticks);
  }

  place(element, from, to) {
    const [first, last] = this.shown();
    const width = this.drawing.clientWidth;
    const at = (us) => Math.min(Math.max(0, ((us - first) / (last - first)) * width), width);
    element.style.left = `${at(from)}px`;
    element.style.width = `${Math.max(2, at(to) - at(from))}px`;
  }

  sentence(span) {
    const kind = { phase: "phase", action: "action", test: "suite", case: "case" }[span.kind];
    const result = span.kind === "phase" ? "" : `, ${span.result ?? (span.isOpen ? "goes on" : "no result")}`;
    const count = span.count > 1 ? ` and ${span.count - 1} more` : "";
    return `${kind} ${visible(span.name)}${count}${result}, at ${offset(span.from - this.start, 3)} s for ${duration((span.to - span.from) / 1e6)}`;
  }

  describe(span) {
    setText(this.caption, span === null ? "A bar marks its range in the log; a double click zooms." : this.sentence(span));
  }

  focused(span) {
    this.current = span.element;
    this.describe(span);
    this.roving();
  }

  roving() {
    const bars = this.lanes.flatMap((lane) => lane.bars ?? []).map((span) => span.element);
    if (!bars.includes(this.current)) this.current = bars[0] ?? null;
    for (const bar of bars) bar.tabIndex = bar === this.current ? 0 : -1;
  }

  key(event) {
    const lane = this.lanes.findIndex((known) => known.element.contains(event.target));
    if (lane < 0) return;
    const bars = this.lanes[lane].bars;
    const index = bars.findIndex((span) => span.element === event.target);
    const vertical = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    let next = null;
    if (event.key === "ArrowRight") next = bars[index + 1];
    else if (event.key === "ArrowLeft") next = bars[index - 1];
    else if (event.key === "Home") next = bars[0];
    else if (event.key === "End") next = bars.at(-1);
    else if (vertical !== undefined) {
      for (let other = lane + vertical; other >= 0 && other < this.lanes.length && !next; other += vertical) {
        next = this.lanes[other].bars.find((span) => span.to >= bars[index].from) ?? this.lanes[other].bars.at(-1);
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
    next?.element.focus();
  }
}

const WORST = { fail: 3, unknown: 2, pass: 1, skip: 0 };

// What of these lies in a stretch of time; neighbours that would be too narrow to be seen are one bar of the worst result.
function merged(spans, from, to, width) {
  const narrow = ((to - from) / width) * NARROW_PX;
  const bars = [];
  for (const span of spans) {
    if (span.to < from || span.from > to) continue;
    const last = bars.at(-1);
    const isNarrow = span.to - span.from < narrow;
    if (last?.isNarrow && isNarrow && span.from - last.first < narrow) {
      const isWorse = (WORST[span.result] ?? -1) > (WORST[last.result] ?? -1);
      const [count, first] = [last.count + 1, last.first];
      const worse = isWorse ? span : last;
      bars[bars.length - 1] = { ...worse, from: last.from, to: Math.max(last.to, span.to), count, first, isNarrow: true };
    } else {
      bars.push({ ...span, count: 1, first: span.from, isNarrow });
    }
  }
  return bars;
}

function niceStep(us) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1.5e7, 3e7, 6e7, 1.2e8, 3e8, 6e8, 1.2e9, 1.8e9, 3.6e9];
  return steps.find((step) => step >= us) ?? Math.ceil(us / 3.6e9) * 3.6e9;
}

function axisLabel(us, step) {
  if (step >= 6e7) return us >= 3.6e9 ? `${Math.floor(us / 3.6e9)}:${String(Math.floor(us / 6e7) % 60).padStart(2, "0")} h` : `${Math.round(us / 6e7)} min`;
  return step >= 1e6 ? `${Math.round(us / 1e6)} s` : `${offset(us, step >= 1e3 ? 3 : 6)} s`;
}
