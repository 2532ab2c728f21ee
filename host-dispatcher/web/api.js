// Talks to the server: one question at a time, and the stream of what changes in the lab.

// Why something was not done, with what the server says about it.
export class Refused extends Error {
  constructor(status, error) {
    super(error.message ?? `the server answered ${status}`);
    this.status = status;
    this.file = error.file;
    this.line = error.line;
    this.mend = error.mend;
  }

  // In one line: file, line, what is wrong, what to do.
  get sentence() {
    const place = this.file ? `${this.file}${this.line ? `:${this.line}` : ""}: ` : "";
    return `${place}${this.message}${this.mend ? ` (${this.mend})` : ""}`;
  }
}

// What a failure is, for a person.
export function sentenceOf(error) {
  if (error instanceof Refused) return error.sentence;
  return error.name === "TypeError" ? "the dispatcher does not answer" : String(error.message ?? error);
}

// An address below the interface; `query` without what is null or empty.
export function address(path, query) {
  const filled = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const words = new URLSearchParams(filled).toString();
  return `/api/v1${path}${words ? `?${words}` : ""}`;
}

// One part of a path.
export function part(name) {
  return encodeURIComponent(name);
}

export async function get(path, query, signal) {
  return answer(await fetch(address(path, query), { signal, headers: { Accept: "application/json" } }));
}

export async function getText(path, query) {
  const response = await fetch(address(path, query));
  if (!response.ok) await answer(response);
  return response.text();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  return answer(await fetch(address(path), { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answer(response) {
  const text = await response.text();
  let value = {};
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch {
    if (response.ok) throw new Refused(response.status, { message: "the server answered no JSON" });
  }
  if (response.ok) return value;
  if (response.status === 401) window.dispatchEvent(new CustomEvent("pumice-login"));
  throw new Refused(response.status, value.error ?? {});
}

// The stream of changes. One for the whole page, as browsers allow six connections to a server for all their tabs;
// closed while nobody looks, and resumed where it was.
export class Stream {
  constructor() {
    this.listeners = new Map();
    this.run = null;
    this.last = null;
    this.source = null;
    this.isOpen = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
  }

  // Calls back for an event: lab, board, board_gone, job, run, reset, state. Returns what ends that.
  on(event, callback) {
    if (!this.listeners.has(event)) this.listeners.set(event, new Set());
    this.listeners.get(event).add(callback);
    return () => this.listeners.get(event).delete(callback);
  }

  // Which run's growth is told; null for none.
  watch(run) {
    if (this.run === run && this.source !== null) return;
    this.run = run;
    this.close();
    this.open();
  }

  open() {
    if (this.source !== null || document.hidden) return;
    const source = new EventSource(address("/events", { run: this.run, after: this.last }));
    this.source = source;
    const told = (event) => {
      if (event.lastEventId) this.last = event.lastEventId;
      this.tell(event.type, event.data ? JSON.parse(event.data) : {});
    };
    for (const name of ["lab", "board", "board_gone", "job", "run"]) source.addEventListener(name, told);
    source.addEventListener("reset", (event) => {
      this.last = event.lastEventId || null;
      this.tell("reset", {});
    });
    source.addEventListener("open", () => this.setOpen(true));
    source.addEventListener("error", () => {
      this.setOpen(false);
      // A browser gives up after an answer that is no stream: of a proxy while the dispatcher restarts.
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        this.source = null;
        setTimeout(() => this.open(), RETRY_MS);
      }
    });
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  setOpen(isOpen) {
    if (this.isOpen === isOpen) return;
    this.isOpen = isOpen;
    this.tell("state", { isOpen });
  }

  tell(event, data) {
    for (const callback of this.listeners.get(event) ?? []) callback(data);
  }
}

const RETRY_MS = 2000;
