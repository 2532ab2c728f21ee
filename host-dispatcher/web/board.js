// One board: what it does, its live console, and what a person may do with it.

import { address, get, part, post, sentenceOf } from "./api.js";
import { button, fill, h, setText } from "./dom.js";
import { badge } from "./results.js";
import { hashOf } from "./router.js";
import { Terminal } from "./terminal.js";
import { ago, clock } from "./words.js";

const RETRY_MS = 2000;
// What may be said by a person; that a board is bad only its health check says.
const HEALTHS = ["good", "unknown", "looping", "maintenance", "retired"];

export class BoardPage {
  constructor(name, stream) {
    this.name = name;
    this.stream = stream;
    this.path = `/boards/${part(name)}`;
    this.head = h("header", { class: "page" });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.terminal = new Terminal(`Console of ${name}`, (bytes) => this.type(bytes));
    this.state = h("span", { class: "faint", role: "status" });
    this.hint = h("span", { class: "faint", hidden: true }, "What is typed on the console goes to the board, Tab too; Shift and Tab leave it.");
    this.minutes = h("input", { type: "number", min: "1", max: "1440", value: "60", "aria-label": "Minutes" });
    this.reason = h("input", { type: "text", placeholder: "what for", "aria-label": "What for", maxlength: "200" });
    this.acquire = button("Acquire", () => this.ask("acquire", { minutes: Number(this.minutes.value), reason: this.reason.value }), { class: "primary" });
    this.release = button("Release", () => this.ask("release", {}));
    this.power = ["on", "off", "cycle"].map((operation) => button(`Power ${operation}`, () => this.ask("power", { operation })));
    this.health = h("select", { "aria-label": "Health", on: { change: () => this.setHealth() } }, h("option", { value: "" }, "set health…"), HEALTHS.map((name) => h("option", { value: name }, name)));
    this.element = h("div", { class: "page tall" }, this.head, h("div", { class: "bar-of-buttons" }, this.minutes, this.reason, this.acquire, this.release, this.power, this.health), this.wrong,
      this.terminal.element, h("div", { class: "bar-of-buttons" }, this.state, this.hint, button("To the end", () => this.terminal.toEnd(), { class: "quiet" }), button("Clear", () => this.terminal.clear(), { class: "quiet" })));
  }

  async open() {
    const read = async () => this.show(await get(this.path));
    this.ends = [this.stream.on("board", (board) => board.name === this.name && this.show(board)), this.stream.on("reset", () => read().catch((error) => this.fail(error)))];
    this.stream.watch(null);
    await read();
    this.connect();
  }

  close() {
    this.isClosed = true;
    this.ends?.forEach((end) => end());
    this.socket?.close();
  }

  show(board) {
    const work = board.job === null ? null : [h("a", { href: hashOf(["jobs", String(board.job)]) }, `job ${board.job}`), board.run ? [", ", h("a", { href: hashOf(["runs", board.run]) }, board.run)] : "", board.action ? `: ${board.action}` : ""];
    const facts = [["Type", [board.type, ...board.tags].join(" · ")], ["Phase", board.phase], ["Health", `${board.health}${board.health_reason ? `: ${board.health_reason}` : ""}${board.health_since ? `, ${ago(board.health_since)}` : ""}`],
      ["Line", board.line], ["Runs", work], ["Acquired", board.lease ? `by ${board.lease.holder} until ${clock(board.lease.until)} UTC${board.lease.reason ? `: ${board.lease.reason}` : ""}` : null]];
    fill(this.head, h("h1", null, `${board.name} `, h("span", { class: "badge" }, board.state)),
      h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
      board.recent.length === 0 ? null : h("p", null, h("span", { class: "faint" }, "Last runs: "), board.recent.slice(-8).reverse().map((run) => [h("a", { href: hashOf(["runs", run.run]), title: run.run }, badge(run.verdict)), " "])));
    const isLeased = board.lease !== null;
    this.acquire.hidden = this.minutes.hidden = this.reason.hidden = isLeased;
    this.release.hidden = !isLeased;
    for (const control of this.power) control.disabled = board.state === "running";
    this.terminal.allowTyping(isLeased);
    this.hint.hidden = !isLeased;
  }

  async ask(what, body) {
    setText(this.wrong, "");
    try {
      const answer = await post(`${this.path}/${what}`, body);
      if (answer.name) this.show(answer);
      // Who holds the board is told to the console when it opens.
      if (what === "acquire" || what === "release") this.reconnect();
    } catch (error) {
      this.fail(error);
    }
  }

  async setHealth() {
    const health = this.health.value;
    this.health.value = "";
    if (health) await this.ask("health", { health, reason: this.reason.value });
  }

  fail(error) {
    setText(this.wrong, sentenceOf(error));
  }

  connect() {
    const place = new URL(address(`${this.path}/console`), location.href);
    place.protocol = place.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(place);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    setText(this.state, "connecting…");
    socket.addEventListener("open", () => setText(this.state, "live"));
    socket.addEventListener("message", (event) => event.data instanceof ArrayBuffer && this.terminal.write(new Uint8Array(event.data)));
    socket.addEventListener("close", () => {
      if (this.isClosed || this.socket !== socket) return;
      setText(this.state, "no connection: trying again");
      setTimeout(() => !this.isClosed && this.socket === socket && this.connect(), RETRY_MS);
    });
  }

  reconnect() {
    this.socket?.close();
    this.connect();
  }

  type(bytes) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }
}
