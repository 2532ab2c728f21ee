// Jobs: those of the lab, one of them, and a form that submits another.

import { get, getText, post, sentenceOf } from "./api.js";
import { button, fill, h, setText } from "./dom.js";
import { groupOf, jobTable, stateOf, tookOf, wishOf } from "./job_table.js";
import { tallyWords } from "./results.js";
import { hashOf, replaceQuery } from "./router.js";
import { clock, visible } from "./words.js";

const AT_ONCE = 50;
// A file of a job is some KiB; what is larger is an image that somebody took for one.
const FILE_BYTES_MAX = 1 << 20;

export class JobsPage {
  constructor(route, stream) {
    this.query = route.query;
    this.stream = stream;
    this.jobs = [];
    this.list = h("div", { class: "page" });
    this.more = button("Older ones", () => this.read(this.jobs.at(-1)?.id), { hidden: true });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    const field = (name, label) => h("input", { type: "search", "aria-label": label, placeholder: label, value: this.query.get(name) ?? "", on: { change: (event) => this.filter(name, event.target.value.trim()) } });
    this.state = h("select", { "aria-label": "State", on: { change: () => this.filter("state", this.state.value) } },
      [["", "any state"], ["queued", "queued"], ["running", "running"], ["ended", "ended"]].map(([value, label]) => h("option", { value }, label)));
    this.state.value = this.query.get("state") ?? "";
    this.element = h("div", { class: "page" }, h("h1", null, "Jobs"),
      h("details", { class: "panel-box" }, h("summary", null, "Submit a job"), new SubmitForm().element),
      h("div", { class: "bar-of-buttons", role: "search", "aria-label": "Filters of jobs" }, this.state, field("name", "name"), field("board", "board"), field("submitter", "submitter")),
      this.wrong, h("div", { class: "panel-box" }, this.list, this.more));
  }

  async open() {
    this.ends = [this.stream.on("job", () => this.refresh()), this.stream.on("reset", () => this.refresh())];
    this.stream.watch(null);
    await this.read();
  }

  close() {
    clearTimeout(this.timer);
    this.ends?.forEach((end) => end());
  }

  filter(name, value) {
    if (value) this.query.set(name, value);
    else this.query.delete(name);
    replaceQuery("/jobs", this.query);
    this.read().catch((error) => setText(this.wrong, sentenceOf(error)));
  }

  // Jobs change often in a busy lab; the list follows once a second, unless somebody has gone back in it.
  refresh() {
    if (this.timer || this.jobs.length > AT_ONCE) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.read().catch((error) => setText(this.wrong, sentenceOf(error)));
    }, 1000);
  }

  async read(before) {
    const words = Object.fromEntries(["state", "board", "submitter", "name"].map((key) => [key, this.query.get(key)]));
    const { jobs, more } = await get("/jobs", { ...words, before, limit: AT_ONCE });
    this.jobs = before === undefined ? jobs : [...this.jobs, ...jobs];
    setText(this.wrong, "");
    this.more.hidden = !more;
    fill(this.list, this.jobs.length === 0 ? h("p", { class: "faint" }, "No such job.") : jobTable(this.jobs, "Jobs"));
  }
}

export class JobPage {
  constructor(id, stream) {
    this.id = id;
    this.stream = stream;
    this.head = h("header", { class: "page" });
    this.boards = h("section", { class: "panel-box", hidden: true });
    this.group = new Map();
    this.definition = h("pre", { tabindex: "0", "aria-label": "Definition of the job" });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.cancel = button("Cancel", () => this.stop(), { hidden: true });
    this.element = h("div", { class: "page" }, this.head, this.wrong, h("div", { class: "bar-of-buttons" }, this.cancel), this.boards, h("section", { class: "panel-box" }, h("h2", null, "Definition"), this.definition));
  }

  async open() {
    const read = async () => {
      const job = await get(`/jobs/${this.id}`);
      this.show(job);
      const others = groupOf(job).filter((id) => id !== job.id);
      (await Promise.all(others.map((id) => get(`/jobs/${id}`)))).forEach((other) => this.showGroup(other));
    };
    this.ends = [this.stream.on("job", (job) => (job.id === this.id ? this.show(job) : this.showGroup(job))), this.stream.on("reset", () => read().catch((error) => setText(this.wrong, sentenceOf(error))))];
    this.stream.watch(null);
    await read();
    setText(this.definition, visibleLines(await getText(`/jobs/${this.id}/definition`)));
  }

  close() {
    this.ends?.forEach((end) => end());
  }

  show(job) {
    const facts = [["Board", job.board ? h("a", { href: hashOf(["boards", job.board]) }, job.board) : wishOf(job.board_wish)], ["Submitted", `${clock(job.submitted)} UTC by ${job.submitter}`],
      ["Priority", job.priority], ["Waits for", job.waits_for], ["Attempt", job.attempt > 1 ? job.attempt : null], ["Took", tookOf(job)],
      ["Results", job.state === "queued" ? null : tallyWords(job.tally)], ["Run", job.run ? h("a", { href: hashOf(["runs", job.run]) }, job.run) : null]];
    fill(this.head, h("h1", null, `Job ${job.id}: ${job.name} `, stateOf(job)), job.error ? h("p", { class: "trouble bad" }, visible(job.error)) : null,
      h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
    this.cancel.hidden = job.state === "ended";
    setText(this.cancel, job.group ? "Cancel on all its boards" : "Cancel");
    this.first = job.group?.first;
    this.showGroup(job);
  }

  // The jobs of one job of several boards, side by side.
  showGroup(job) {
    if (!job.group || job.group.first !== this.first) return;
    this.group.set(job.id, job);
    this.boards.hidden = false;
    const jobs = [...this.group.values()].sort((one, other) => one.id - other.id);
    fill(this.boards, h("h2", null, "All its boards"), jobTable(jobs, "All boards of this job"));
  }

  async stop() {
    this.cancel.disabled = true;
    try {
      this.show(await post(`/jobs/${this.id}/cancel`, {}));
    } catch (error) {
      setText(this.wrong, sentenceOf(error));
    }
    this.cancel.disabled = false;
  }
}

class SubmitForm {
  constructor() {
    this.text = h("textarea", { rows: "12", required: true, spellcheck: "false", placeholder: "name: smoke\nboard: {type: qemu-virt-armv7}\ntests:\n  - name: uname\n    run: uname -a" });
    this.file = h("input", { type: "file", accept: ".yaml,.yml", on: { change: () => this.pick() } });
    this.priority = h("input", { type: "number", min: "0", max: "100", value: "50" });
    this.wrong = h("p", { class: "wrong", role: "alert" });
    this.submit = h("button", { class: "primary" }, "Submit");
    this.name = "job.yaml";
    this.element = h("form", { class: "form", on: { submit: (event) => this.send(event) } },
      h("label", null, "Job file: paste it here, or pick one", this.text), h("div", { class: "row" }, h("label", null, "File", this.file), h("label", null, "Priority", this.priority), this.submit),
      h("p", { class: "faint" }, "A job that names files of your machine is submitted with ", h("code", null, "pumice submit"), ", which sends them along."), this.wrong);
  }

  async pick() {
    const [file] = this.file.files;
    if (!file) return;
    if (file.size > FILE_BYTES_MAX) {
      setText(this.wrong, "This file is too large for a job.");
      return;
    }
    this.name = file.name;
    this.text.value = await file.text();
    setText(this.wrong, "");
  }

  async send(event) {
    event.preventDefault();
    this.submit.disabled = true;
    try {
      const job = await post("/jobs", { definition: this.text.value, file: this.name, priority: Number(this.priority.value), files: {} });
      location.hash = hashOf(["jobs", String(job.id)]);
    } catch (error) {
      setText(this.wrong, sentenceOf(error));
    }
    this.submit.disabled = false;
  }
}

function visibleLines(text) {
  return text.split("\n").map(visible).join("\n");
}
