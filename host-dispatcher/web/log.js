// The log of a run: a window onto any number of lines. Lines have one height; only those that are seen are elements, and
// these are used again and again. What was looked at never moves by itself.

import { h, setText, setClass } from "./dom.js";
import { Pages } from "./pages.js";
import { Scroll } from "./scroll.js";
import { LEVELS, micros, offset, shortSource, timeOf, visible } from "./words.js";

const LINE_PX = 20;
// What a line of the window shows; the whole text stands below the log.
const SHOWN_CHARACTERS = 2000;
const WHEEL_LINES = 3;
const ASK_AGAIN_MS = 200;

export class Log {
  // `start`: microseconds of the run's start. Tells `told.selected(record)`, `told.hovered(record)`, `told.seen(from, to)` in
  // microseconds, `told.count(matched, lines, isComplete)`, `told.failed(error)`.
  constructor(source, start, told) {
    this.start = start;
    this.told = told;
    this.scroll = new Scroll();
    this.pages = new Pages(source, () => this.draw(), (error) => this.failed(error));
    this.selected = null;
    this.selectedTime = null;
    this.range = null;
    this.isFollowing = false;
    this.rows = [];
    this.list = h("div", { role: "presentation" });
    this.layer = h("div", { class: "log-layer", role: "presentation" }, this.list);
    this.sizer = h("div", { class: "log-sizer", role: "presentation" }, this.layer);
    this.empty = h("p", { class: "log-empty", hidden: true });
    this.box = h("div", { class: "log", role: "listbox", tabindex: "0", "aria-label": "Log of the run" }, this.sizer);
    this.element = h("div", { class: "log-frame" }, this.box, this.empty);
    this.width = 0;
    this.listen();
  }

  // Takes another filter, and shows the line of a time, or the beginning. `range`: [from, to] in microseconds is marked.
  async show(filter, { time = null, range = null, isFollowing = false } = {}) {
    this.pages.reset(filter);
    this.range = range;
    this.isFollowing = isFollowing;
    this.select(null);
    try {
      if (time === null) {
        await this.pages.refresh();
        this.layout();
        if (isFollowing) this.toEnd();
        else this.moveTo(0);
      } else {
        await this.goTo(time, true);
      }
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }

  // Shows the line of a time in the upper half, and selects it.
  async goTo(time, isSelected) {
    const index = await this.pages.locate(time, micros(time));
    if (index === null) return;
    this.isFollowing = false;
    this.layout();
    const line = Math.min(index, Math.max(0, this.pages.matched - 1));
    this.moveTo(line * LINE_PX - Math.max(0, this.box.clientHeight / 3));
    if (isSelected && this.pages.matched > 0) this.select(line, false);
    this.draw();
  }

  // Marks what lies between two times; null for nothing.
  mark(range) {
    this.range = range;
    this.draw();
  }

  // The run has grown, or may have (null). `generation` is another one when lines before have moved: then what is seen is
  // looked up anew.
  async grew(generation) {
    // Growth that is told while the last one is looked at is looked at once, behind it.
    if (this.isGrowing) {
      this.grewAgain = { generation };
      return;
    }
    this.isGrowing = true;
    await this.grow(generation);
    this.isGrowing = false;
    const again = this.grewAgain;
    this.grewAgain = null;
    if (again) await this.grew(again.generation);
  }

  async grow(generation) {
    try {
      const isSame = [null, this.pages.generation].includes(generation) || this.pages.generation === null;
      if (isSame && (await this.pages.refresh())) {
        this.layout();
        if (this.isFollowing) this.toEnd();
        return;
      }
      await this.anew();
    } catch (error) {
      if (error.name !== "AbortError") this.told.failed(error);
    }
  }

  // Lines have moved: the same ones are shown again, at the same place.
  async anew() {
    const first = Math.floor(this.scroll.top / LINE_PX);
    const within = this.scroll.top - first * LINE_PX;
    const record = this.pages.at(first);
    this.pages.clear();
    if (this.isFollowing || record === null) {
      await this.pages.refresh();
      this.layout();
      if (this.isFollowing) this.toEnd();
      else this.draw();
      return;
    }
    const index = await this.pages.locate(record.host_time, record.us);
    if (index === null) return;
    this.layout();
    this.moveTo(index * LINE_PX + within);
  }

  follow(isFollowing) {
    this.isFollowing = isFollowing;
    if (isFollowing) this.toEnd();
  }

  // Does what a key means; returns whether it means something here.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const page = Math.max(1, Math.floor(this.box.clientHeight / LINE_PX) - 1);
    const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const move = event.key === " " ? (event.shiftKey ? -page : page) : moves[event.key];
    if (move === undefined) return false;
    this.step(move);
    return true;
  }

  step(lines) {
    const last = this.pages.matched - 1;
    if (last < 0) return;
    if (lines === -Infinity || lines === Infinity) {
      const line = lines < 0 ? 0 : last;
      this.moveTo(lines < 0 ? 0 : this.scroll.end);
      this.select(line);
      return;
    }
    const seen = this.seenLines();
    const isSeen = this.selected !== null && this.selected >= seen[0] && this.selected <= seen[1];
    const from = isSeen ? this.selected : lines > 0 ? seen[0] - 1 : seen[1] + 1;
    const line = Math.min(Math.max(0, from + lines), last);
    if (Math.abs(lines) > 1) this.moveTo(this.scroll.top + lines * LINE_PX);
    this.bring(line);
    this.select(line);
  }

  // Scrolls as little as needed to show a line.
  bring(line) {
    const [top, height] = [line * LINE_PX, this.box.clientHeight];
    if (top < this.scroll.top) this.moveTo(top);
    else if (top + LINE_PX > this.scroll.top + height) this.moveTo(top + LINE_PX - height);
  }

  select(line, isTold = true) {
    this.selected = line;
    const record = line === null ? null : this.pages.at(line);
    this.selectedTime = record?.host_time ?? null;
    if (line !== null) this.isFollowing = false;
    this.draw();
    if (isTold || record !== null) this.told.selected(record, isTold);
  }

  listen() {
    this.box.addEventListener("scroll", () => {
      this.scroll.scrolledTo(this.box.scrollTop);
      this.isFollowing = this.isFollowing && this.scroll.top >= this.scroll.end - LINE_PX;
      this.drawSoon();
    }, { passive: true });
    this.box.addEventListener("wheel", (event) => {
      if (!this.scroll.isScaled || event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      event.preventDefault();
      const unit = [1, LINE_PX * WHEEL_LINES, this.box.clientHeight][event.deltaMode] ?? 1;
      this.isFollowing = false;
      this.moveTo(this.scroll.top + event.deltaY * unit);
    }, { passive: false });
    this.box.addEventListener("keydown", (event) => {
      if (this.key(event)) event.preventDefault();
    });
    this.box.addEventListener("click", (event) => {
      const line = this.lineOf(event);
      if (line === null || this.pages.at(line) === null) return;
      if (event.shiftKey && this.selected !== null) this.markTo(line);
      else this.select(line);
    });
    this.box.addEventListener("mousemove", (event) => {
      const line = this.lineOf(event);
      this.told.hovered(line === null ? null : this.pages.at(line));
    }, { passive: true });
    this.box.addEventListener("mouseleave", () => this.told.hovered(null));
    new ResizeObserver(() => {
      this.layout();
      if (this.isFollowing) this.toEnd();
    }).observe(this.box);
  }

  // Marks from the selected line to another one.
  markTo(line) {
    const [one, other] = [this.pages.at(this.selected), this.pages.at(line)];
    if (one === null || other === null) return;
    const range = one.us <= other.us ? [one.us, other.us] : [other.us, one.us];
    this.mark(range);
    this.told.marked(range);
  }

  lineOf(event) {
    const row = event.target instanceof Element ? event.target.closest(".line") : null;
    return row ? Number(row.dataset.line) : null;
  }

  toEnd() {
    this.moveTo(this.scroll.end);
  }

  moveTo(top) {
    this.scroll.moveTo(top);
    if (Math.abs(this.box.scrollTop - this.scroll.element) >= 1) this.box.scrollTop = this.scroll.element;
    this.drawSoon();
  }

  layout() {
    const whole = this.pages.matched * LINE_PX;
    this.scroll.resize(whole, this.box.clientHeight);
    const height = `${this.scroll.height}px`;
    if (this.sizer.style.height !== height) this.sizer.style.height = height;
    if (Math.abs(this.box.scrollTop - this.scroll.element) >= 1) this.box.scrollTop = this.scroll.element;
    this.layer.style.height = `${Math.min(this.box.clientHeight, whole)}px`;
    this.draw();
  }

  seenLines() {
    const first = Math.floor(this.scroll.top / LINE_PX);
    const last = Math.min(this.pages.matched, Math.ceil((this.scroll.top + this.box.clientHeight) / LINE_PX)) - 1;
    return [first, Math.max(first, last)];
  }

  drawSoon() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.draw();
    });
  }

  draw() {
    if (!this.box.isConnected) return;
    if (this.scroll.whole !== this.pages.matched * LINE_PX) {
      this.layout();
      return;
    }
    const [first, last] = this.seenLines();
    this.pages.look(first, last);
    const count = this.pages.matched === 0 ? 0 : last - first + 1;
    while (this.rows.length < count) this.rows.push(newRow(this.list));
    const active = this.selected !== null && this.selected >= first && this.selected <= last;
    this.rows.forEach((row, index) => this.drawRow(row, index < count ? first + index : null));
    this.rowsBox(first);
    if (active) this.box.setAttribute("aria-activedescendant", this.rows[this.selected - first].line.id);
    else this.box.removeAttribute("aria-activedescendant");
    this.drawEmpty();
    this.told.count(this.pages.matched, this.pages.lines, this.pages.isComplete);
    if (!this.pages.isComplete) this.askSoon();
    const [from, to] = [this.pages.at(first), this.pages.at(last)];
    if (from !== null && to !== null) this.told.seen(from.us, to.us);
  }

  rowsBox(first) {
    const shift = `translateY(${first * LINE_PX - this.scroll.top}px)`;
    if (this.list.style.transform !== shift) this.list.style.transform = shift;
    // Grows with the longest line that was seen, and never shrinks: the bar below does not jump.
    const width = Math.max(this.width, this.list.scrollWidth);
    if (width > this.width && width > this.box.clientWidth) {
      this.width = width;
      this.sizer.style.minWidth = `${width}px`;
    }
  }

  drawRow(row, line) {
    row.line.hidden = line === null;
    if (line === null) {
      setClass(row.line, "line");
      return;
    }
    row.line.dataset.line = line;
    row.line.setAttribute("aria-posinset", line + 1);
    row.line.setAttribute("aria-setsize", this.pages.matched);
    row.line.setAttribute("aria-selected", line === this.selected ? "true" : "false");
    const record = this.pages.at(line);
    if (record === null) {
      setClass(row.line, "line missing");
      for (const cell of row.cells) setText(cell, "");
      setText(row.text, "…");
      return;
    }
    const inRange = this.range !== null && record.us >= this.range[0] && record.us <= this.range[1];
    const level = record.level ?? 6;
    const grave = level <= 3 ? " is-error" : level === 4 ? " is-warning" : "";
    setClass(row.line, `line source-${record.source}${grave}${inRange ? " in-range" : ""}`);
    setText(row.time, offset(record.us - this.start));
    setText(row.source, shortSource(record.source));
    setText(row.level, record.level === undefined ? "" : LEVELS[record.level] ?? "");
    setText(row.text, shown(record));
  }

  drawEmpty() {
    const isEmpty = this.pages.matched === 0 && this.pages.generation !== null;
    this.empty.hidden = !isEmpty;
    if (isEmpty) {
      setText(this.empty, this.pages.isComplete ? (this.pages.lines === 0 ? "The log has no line yet." : "No line is taken by these filters.") : "Looking…");
    }
  }

  askSoon() {
    if (this.asking) return;
    this.asking = setTimeout(() => {
      this.asking = null;
      this.grew(this.pages.generation);
    }, ASK_AGAIN_MS);
  }

  failed(error) {
    if (error === null) this.anew().catch((again) => this.told.failed(again));
    else this.told.failed(error);
  }
}

// A record's text in one line, and what is missing there.
export function shown(record) {
  const marks = [];
  if (record.left_out) marks.push(`[${record.left_out} lines are left out of this page]`);
  if (record.lost) marks.push(`[${record.lost} lines are missing here]`);
  if (record.elided) marks.push(`[${record.elided} bytes are left out here]`);
  const text = record.text.length > SHOWN_CHARACTERS ? `${record.text.slice(0, SHOWN_CHARACTERS)} …` : record.text;
  return [...marks, visible(text.replace(/\r?\n$/, ""))].join(" ");
}

// A link to a record, or to a range, is its time.
export function timeOfRange(range) {
  return [timeOf(range[0]), timeOf(range[1])];
}

let rows = 0;

function newRow(list) {
  rows += 1;
  const [time, source, level] = ["time", "source", "level"].map((name) => h("span", { class: `cell ${name}` }));
  const text = h("span", { class: "cell text" });
  const line = h("div", { class: "line", role: "option", id: `line-${rows}`, "aria-selected": "false" }, time, source, level, text);
  list.append(line);
  return { line, time, source, level, text, cells: [time, source, level, text] };
}
