// Jobs as a table.

import { h } from "./dom.js";
import { badge, tallyWords } from "./results.js";
import { hashOf } from "./router.js";
import { ago, micros, duration } from "./words.js";

export function jobTable(jobs, caption) {
  const heads = ["Job", "State", "Board", "Results", "Submitted", "Took"].map((name) => h("th", { scope: "col" }, name));
  return h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", null,
    h("caption", { class: "hidden-words" }, caption), h("thead", null, h("tr", null, heads)), h("tbody", null, jobs.map(row))));
}

// What a job is at the moment, as a coloured word.
export function stateOf(job) {
  if (job.verdict) return badge(job.verdict);
  return job.state === "running" ? h("span", { class: "badge badge-live" }, "running") : h("span", { class: "badge" }, job.state);
}

// What board a job asks for, in words.
export function wishOf(wish) {
  if (!wish) return "any";
  const parts = [wish.name, wish.type ?? wish.board_type, ...(wish.tags ?? [])].filter(Boolean);
  return parts.join(" · ") || "any";
}

// The numbers of a job's group, its own among them; of a job for one board that alone.
export function groupOf(job) {
  return job.group ? Array.from({ length: job.group.boards }, (_, index) => job.group.first + index) : [job.id];
}

function othersOf(job) {
  return groupOf(job).filter((id) => id !== job.id).join(", ");
}

// How long its last run took, or takes.
export function tookOf(job) {
  if (!job.started) return "";
  const end = job.ended ? micros(job.ended) : Date.now() * 1000;
  return duration(Math.max(0, (end - micros(job.started)) / 1e6));
}

function row(job) {
  const board = job.board ? h("a", { href: hashOf(["boards", job.board]) }, job.board) : h("span", { class: "faint" }, wishOf(job.board_wish));
  const told = job.error || job.waits_for;
  return h("tr", null,
    h("th", { scope: "row" }, h("a", { href: hashOf(["jobs", String(job.id)]) }, `${job.id} ${job.name}`), job.is_health_check ? h("span", { class: "faint" }, " health check") : null, job.group ? h("span", { class: "faint" }, ` with ${othersOf(job)}`) : null),
    h("td", null, stateOf(job), told ? h("span", { class: "faint" }, ` ${told}`) : null),
    h("td", null, board),
    h("td", null, job.state === "queued" ? "" : job.run ? h("a", { href: hashOf(["runs", job.run]) }, tallyWords(job.tally)) : tallyWords(job.tally)),
    h("td", null, h("span", { title: job.submitted }, ago(job.submitted)), h("span", { class: "faint" }, ` ${job.submitter}`)),
    h("td", { class: "number" }, tookOf(job)));
}
