// A run's data that stands in the page itself: what `pumice report` writes. Answers what server.js asks the server.

import { matcher, isSameFilter } from "./filter.js";
import { micros } from "./words.js";

export class EmbeddedRun {
  constructor() {
    this.data = parse("pumice-run");
    this.all = parse("pumice-log");
    for (const record of this.all) record.us = micros(record.host_time);
    this.filter = null;
    this.taken = this.all;
    this.isServed = false;
  }

  // The run as a whole, with `summary` (its suites with their cases), `spans` and `previous`.
  async run() {
    return this.data;
  }

  // The results of the run before; null where there is none.
  async previous() {
    return null;
  }

  async files() {
    return this.data.files ?? [];
  }

  // A page of the log: the records from number `from` on among those that the filter takes, or around a time.
  async log(filter, { from = 0, count = 200, around = null }) {
    this.apply(filter);
    let first = from;
    if (around !== null) first = Math.max(0, this.indexOf(micros(around)) - (count >> 1));
    const records = this.taken.slice(first, first + count);
    return { generation: 0, is_growing: false, lines: this.all.length, matched: this.taken.length, from: first, records };
  }

  // Tells of growth: there is none.
  watch() {
    return () => {};
  }

  apply(filter) {
    if (this.filter !== null && isSameFilter(this.filter, filter)) return;
    this.taken = this.all.filter(matcher(filter));
    this.filter = { ...filter };
  }

  // The first of those taken that is not before a time.
  indexOf(us) {
    let [low, high] = [0, this.taken.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.taken[middle].us < us) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// The text goes as soon as it was read: of a large log it is half of the memory.
function parse(id) {
  const element = document.getElementById(id);
  const value = JSON.parse(element.textContent);
  element.remove();
  return value;
}
