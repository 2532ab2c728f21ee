// The pages of a log that are at hand: few are kept, those are asked for that are being looked at, and what scrolled by
// before it came is not asked for any more.

export const PAGE = 200;
// 16,000 lines; some MB.
const KEPT = 80;
// One for what is seen, one for what comes next.
const ASKED_AT_ONCE = 2;

export class Pages {
  // `source` answers log(filter, {from, count, around}); `changed` is called when something has come, `failed` with an error.
  constructor(source, changed, failed) {
    this.source = source;
    this.changed = changed;
    this.failed = failed;
    this.filter = {};
    this.clear();
  }

  // Forgets everything, and takes another filter.
  reset(filter) {
    this.filter = filter;
    this.clear();
  }

  clear() {
    this.abort?.abort();
    this.abort = new AbortController();
    this.pages = new Map();
    this.wanted = [];
    this.asked = new Set();
    this.matched = 0;
    this.lines = 0;
    this.generation = null;
    this.isComplete = true;
    // The time of the newest line that was seen, in microseconds.
    this.newest = 0;
  }

  // The record of a number, or null where it has not come.
  at(index) {
    const page = this.pages.get(Math.floor(index / PAGE));
    return page?.[index % PAGE] ?? null;
  }

  // These records are being looked at: what is missing is asked for, the middle first.
  look(first, last) {
    const [low, high] = [Math.floor(first / PAGE), Math.floor(Math.max(first, last) / PAGE)];
    const wanted = [];
    for (let page = low; page <= high; page += 1) wanted.push(page);
    for (const page of wanted) this.touch(page);
    // One more on each side, for who scrolls.
    wanted.push(high + 1, low - 1);
    const last_page = Math.floor(Math.max(0, this.matched - 1) / PAGE);
    this.wanted = wanted.filter((page) => page >= 0 && page <= last_page && !this.isWhole(page));
    this.ask();
  }

  // The page around a time; returns the number of the first record that is not before it, `matched` if there is none.
  async locate(time, us) {
    const abort = this.abort;
    let page;
    do {
      page = await this.source.log(this.filter, { around: time, count: PAGE }, abort.signal);
      if (abort !== this.abort) return null;
      this.take(page);
    } while (!this.isComplete);
    const index = page.records.findIndex((record) => record.us >= us);
    return index < 0 ? page.from + page.records.length : page.from + index;
  }

  // The end of the log: how many lines there are now, and the last of them.
  async refresh() {
    const abort = this.abort;
    const from = Math.floor(this.matched / PAGE) * PAGE;
    const page = await this.source.log(this.filter, { from, count: PAGE }, abort.signal);
    if (abort !== this.abort) return false;
    if (this.generation !== null && page.generation !== this.generation) return false;
    this.take(page);
    this.changed();
    return true;
  }

  ask() {
    while (this.asked.size < ASKED_AT_ONCE) {
      const page = this.wanted.find((wanted) => !this.asked.has(wanted));
      if (page === undefined) return;
      this.wanted.splice(this.wanted.indexOf(page), 1);
      this.load(page);
    }
  }

  async load(number) {
    const abort = this.abort;
    this.asked.add(number);
    try {
      const page = await this.source.log(this.filter, { from: number * PAGE, count: PAGE }, abort.signal);
      if (abort !== this.abort) return;
      this.asked.delete(number);
      const isOther = this.generation !== null && page.generation !== this.generation;
      if (isOther) this.failed(null);
      else this.take(page);
      this.changed();
    } catch (error) {
      if (abort !== this.abort || error.name === "AbortError") return;
      this.asked.delete(number);
      this.failed(error);
    }
  }

  take(page) {
    this.generation = page.generation;
    this.matched = page.matched;
    this.lines = page.lines;
    // A server that was slow has counted a part so far: the same question finds more.
    this.isComplete = page.is_complete !== false;
    this.newest = Math.max(this.newest, page.records.at(-1)?.us ?? 0);
    // A page around a time begins anywhere: only what fills whole pages of ours, or ends the log, is kept.
    let at = page.from;
    const end = page.from + page.records.length;
    while (at < end) {
      const number = Math.floor(at / PAGE);
      const next = Math.min((number + 1) * PAGE, end);
      const known = this.pages.get(number) ?? [];
      for (let index = at; index < next; index += 1) known[index % PAGE] = page.records[index - page.from];
      this.pages.set(number, known);
      this.touch(number);
      at = next;
    }
    for (const number of this.pages.keys()) {
      if (this.pages.size <= KEPT) break;
      this.pages.delete(number);
    }
  }

  isWhole(number) {
    const page = this.pages.get(number);
    if (page === undefined) return false;
    const count = Math.min(PAGE, this.matched - number * PAGE);
    for (let index = 0; index < count; index += 1) if (page[index] === undefined) return false;
    return true;
  }

  // A Map goes through its keys in the order in which they were put in: the first was looked at the longest ago.
  touch(number) {
    const page = this.pages.get(number);
    if (page === undefined) return;
    this.pages.delete(number);
    this.pages.set(number, page);
  }
}
