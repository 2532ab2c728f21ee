// The lab: every board with what it does, and the queue.

import { get, sentenceOf } from "./api.js";
import { fill, h, setClass, setText, svg } from "./dom.js";
import { jobTable } from "./job_table.js";
import { hashOf } from "./router.js";
import { ago, amount, counted, visible } from "./words.js";

const HEALTH = { good: "good", unknown: "odd", looping: "live", bad: "bad", maintenance: "odd", retired: "skip" };
const RUNS_SHOWN = 20;
const QUEUE_MS = 500;

export class LabPage {
  constructor(stream) {
    this.stream = stream;
    this.cards = new Map();
    this.jobs = new Map();
    this.state = h("header", { class: "lab-state" });
    this.wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    this.boards = h("div", { class: "boards" });
    this.queue = h("section", { class: "panel-box", "aria-label": "Queue" });
    this.element = h("div", { class: "page" }, this.state, this.wrong, h("h2", { class: "hidden-words" }, "Boards"), this.boards, this.queue);
  }

  async open() {
    this.ends = [
      this.stream.on("lab", (lab) => this.showLab(lab)),
      this.stream.on("board", (board) => this.showBoard(board)),
      this.stream.on("board_gone", ({ name }) => this.dropBoard(name)),
      this.stream.on("job", (job) => this.showJob(job)),
      this.stream.on("reset", () => this.read().catch((error) => this.fail(error))),
    ];
    this.stream.watch(null);
    await this.read();
  }

  close() {
    clearTimeout(this.timer);
    this.ends?.forEach((end) => end());
  }

  async read() {
    const [lab, { boards }, queued, running] = await Promise.all([get("/lab"), get("/boards"), get("/jobs", { state: "queued", limit: 50 }), get("/jobs", { state: "running", limit: 200 })]);
    this.showLab(lab);
    for (const name of this.cards.keys()) if (!boards.some((board) => board.name === name)) this.dropBoard(name);
    boards.forEach((board) => this.showBoard(board));
    this.jobs = new Map([...queued.jobs, ...running.jobs].map((job) => [job.id, job]));
    this.drawQueue();
  }

  fail(error) {
    this.wrong.hidden = false;
    setText(this.wrong, sentenceOf(error));
  }

  showLab(lab) {
    fill(this.state, h("h1", null, "Lab"), h("span", { class: "faint" }, `${counted(lab.boards, "board")}, ${counted(lab.running, "job")} on them, ${amount(lab.queued)} in the queue`),
      h("span", { class: "faint" }, `Pumice ${lab.version}, started ${ago(lab.started)}`), lab.paused ? h("strong", { class: "wrong" }, `No job is begun: ${lab.paused}`) : null);
  }

  showBoard(board) {
    let card = this.cards.get(board.name);
    if (card === undefined) {
      card = new Card(board.name);
      this.cards.set(board.name, card);
      const next = [...this.cards.keys()].filter((name) => name > board.name).sort()[0];
      this.boards.insertBefore(card.element, next === undefined ? null : this.cards.get(next).element);
    }
    card.show(board);
  }

  dropBoard(name) {
    this.cards.get(name)?.element.remove();
    this.cards.delete(name);
  }

  showJob(job) {
    if (job.state === "ended") this.jobs.delete(job.id);
    else this.jobs.set(job.id, job);
    // In a busy lab jobs change more often than anybody reads.
    this.timer ??= setTimeout(() => this.drawQueue(), QUEUE_MS);
  }

  drawQueue() {
    clearTimeout(this.timer);
    this.timer = null;
    const jobs = [...this.jobs.values()].sort((one, other) => rank(one) - rank(other) || other.priority - one.priority || one.id - other.id);
    fill(this.queue, h("h2", null, "Queue"), jobs.length === 0 ? h("p", { class: "faint" }, "No job runs or waits. ", h("a", { href: "#/jobs" }, "Submit one")) : jobTable(jobs, "Jobs that run or wait"));
  }
}

// One board. Its parts stay the same elements, so that nothing moves but what changes.
class Card {
  constructor(name) {
    this.health = h("span");
    this.kind = h("span", { class: "faint" });
    this.phase = h("span", { class: "grow" });
    this.line = h("span", { class: "badge" });
    this.work = h("span", { class: "grow" });
    this.progress = h("progress", { max: "1", "aria-label": "Progress of the action" });
    this.last = h("p", { class: "last-line" });
    this.spark = svg("svg", { class: "spark", viewBox: "0 0 124 16", role: "img" });
    this.summary = h("span", { class: "faint grow" });
    this.element = h("article", { class: "board", "aria-label": `Board ${name}` },
      h("div", { class: "board-head" }, h("a", { href: hashOf(["boards", name]) }, name), this.kind, this.health),
      h("div", { class: "board-row" }, this.phase, this.line), h("div", { class: "board-row" }, this.work, this.progress), this.last,
      h("div", { class: "board-row" }, this.spark, this.summary, h("a", { href: hashOf(["boards", name]), "aria-label": `Live console of ${name}` }, "Console")));
  }

  show(board) {
    setText(this.health, board.health);
    setClass(this.health, `badge badge-${HEALTH[board.health] ?? "skip"}`);
    this.health.title = board.health_reason;
    setText(this.kind, [board.type, ...board.tags].join(" · "));
    setText(this.phase, board.phase);
    setText(this.line, `line ${board.line}`);
    setClass(this.line, board.line === "good" || board.line === "" ? "badge" : "badge badge-odd");
    this.line.hidden = board.line === "";
    fill(this.work, workOf(board));
    this.progress.hidden = board.progress === null;
    if (board.progress !== null) this.progress.value = board.progress;
    setText(this.last, visible(board.last_line));
    this.drawSpark(board.recent);
  }

  drawSpark(recent) {
    const drawn = recent.map((run) => run.run).join("/");
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    const words = recent.map((run) => run.verdict);
    const passed = words.filter((word) => word === "passed").length;
    const label = words.length === 0 ? "no runs yet" : `${passed} of ${words.length} passed`;
    this.spark.setAttribute("aria-label", `Last runs: ${label}`);
    setText(this.summary, label);
    const shown = recent.slice(-RUNS_SHOWN);
    const empty = RUNS_SHOWN - shown.length;
    fill(this.spark, [...Array(empty).fill(null), ...shown].map((run, index) => {
      const kind = run === null ? "none" : run.verdict === "passed" ? "passed" : run.verdict === "failed" ? "failed" : "error";
      const height = { none: 3, passed: 14, failed: 10, error: 7 }[kind];
      return svg("rect", { class: kind, x: index * 6.2, y: 15 - height, width: 4.6, height, rx: 1 }, run === null ? null : svg("title", null, `${run.run}: ${run.verdict}`));
    }));
  }
}

function workOf(board) {
  if (board.lease) return `acquired by ${board.lease.holder}${board.lease.reason ? `: ${board.lease.reason}` : ""}`;
  if (board.job === null) return h("span", { class: "faint" }, board.health_reason || "idle");
  const job = h("a", { href: board.run ? hashOf(["runs", board.run]) : hashOf(["jobs", String(board.job)]) }, `job ${board.job}`);
  return [job, board.action ? `: ${board.action}` : ""];
}

function rank(job) {
  return job.state === "running" ? 0 : 1;
}
