// A console as text: lines, carriage returns, backspaces. Other escapes are made visible or left out, and none is obeyed:
// what a board sends moves no cursor and sets no title.

import { h, setText } from "./dom.js";
import { visible } from "./words.js";

const LINES_MAX = 5000;
const TYPED = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D", Home: "\x1b[H", End: "\x1b[F", Delete: "\x1b[3~" };
const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z]|[=>78cDEHM])/g;
// A sequence that may go on in the next piece.
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200}|[()])?$/;

export class Terminal {
  // `typed(bytes)` gets what is typed, where typing is allowed.
  constructor(label, typed) {
    this.typed = typed;
    this.element = h("pre", { class: "terminal", tabindex: "0", role: "log", "aria-label": label, "aria-live": "off" });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("paste", (event) => this.paste(event));
    this.canType = false;
    this.clear();
  }

  allowTyping(isAllowed) {
    this.canType = isAllowed;
  }

  clear() {
    this.decoder = new TextDecoder();
    this.element.replaceChildren();
    this.left = "";
    this.newLine();
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  write(bytes) {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    const isAtEnd = scrollTop + clientHeight >= scrollHeight - 24;
    let text = this.left + this.decoder.decode(bytes, { stream: true });
    this.left = UNFINISHED.exec(text)?.[0] ?? "";
    text = text.slice(0, text.length - this.left.length).replace(SEQUENCE, "");
    for (const [index, piece] of text.split("\n").entries()) {
      if (index > 0) this.newLine();
      this.add(piece);
    }
    while (this.element.childNodes.length > LINES_MAX) this.element.firstChild.remove();
    if (isAtEnd) this.toEnd();
  }

  // A piece of a line: carriage returns go back to its beginning, backspaces one back; what follows takes the place.
  add(piece) {
    let [line, at] = [this.text, this.at];
    for (const part of piece.split(/([\r\b])/)) {
      if (part === "\r") at = 0;
      else if (part === "\b") at = Math.max(0, at - 1);
      else if (part !== "") {
        line = line.slice(0, at) + part + line.slice(at + part.length);
        at += part.length;
      }
    }
    // A line without an end is cut, so that each byte costs the same.
    if (line.length > 4096) {
      this.text = line;
      setText(this.line, `${visible(line)}\n`);
      this.newLine();
      return;
    }
    [this.text, this.at] = [line, at];
    setText(this.line, `${visible(line)}\n`);
  }

  newLine() {
    [this.text, this.at] = ["", 0];
    this.line = h("span", null, "\n");
    this.element.append(this.line);
  }

  key(event) {
    // Tab leaves a console on which nothing can be typed; Shift and Tab always leave.
    if (!this.canType || event.metaKey || event.altKey || (event.key === "Tab" && event.shiftKey)) return;
    let text = TYPED[event.key] ?? (event.key.length === 1 ? event.key : null);
    if (event.ctrlKey) {
      const code = event.key.toUpperCase().charCodeAt(0) - 64;
      const isCopy = event.key === "c" && String(getSelection()) !== "";
      if (event.key.length !== 1 || code < 1 || code > 31 || event.key === "v" || isCopy) return;
      text = String.fromCharCode(code);
    }
    if (text === null) return;
    event.preventDefault();
    this.typed(new TextEncoder().encode(text));
  }

  paste(event) {
    if (!this.canType) return;
    event.preventDefault();
    this.typed(new TextEncoder().encode(event.clipboardData.getData("text").replaceAll("\n", "\r")));
  }
}
