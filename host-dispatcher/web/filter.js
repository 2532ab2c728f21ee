// Which lines of a log somebody wants to see, as it stands in the page's address and in a question to the server.

import { micros } from "./words.js";

const KEYS = ["source", "level", "test", "grep", "since", "until"];

// A filter's keys of an address; others are left alone by everything here.
export function filterOf(query) {
  const filter = {};
  for (const key of KEYS) {
    const value = query.get(key);
    if (value) filter[key] = value;
  }
  return filter;
}

// Writes a filter into the query of an address.
export function writeFilter(query, filter) {
  for (const key of KEYS) {
    if (filter[key]) query.set(key, filter[key]);
    else query.delete(key);
  }
}

// Whether it leaves nothing out.
export function isEverything(filter) {
  return KEYS.every((key) => !filter[key]);
}

// Whether two let the same through.
export function isSameFilter(one, other) {
  return KEYS.every((key) => (one[key] ?? "") === (other[key] ?? ""));
}

// What tells of a record whether it is taken: the server's rule (report/log_filter.rs), for data without a server.
// Throws what is wrong with a regular expression.
export function matcher(filter) {
  const sources = filter.source ? new Set(filter.source.split(",")) : null;
  const level = filter.level ? Number(filter.level) : null;
  const regex = filter.grep ? new RegExp(filter.grep, "u") : null;
  const [since, until] = [micros(filter.since), micros(filter.until)];
  return (record) =>
    (sources === null || sources.has(record.source)) &&
    (level === null || (record.level !== undefined && record.level <= level)) &&
    (!filter.test || isOf(record, filter.test)) &&
    !(record.us < since) && !(record.us > until) &&
    (regex === null || regex.test(record.text));
}

// Whether a record is output of a suite, or of its case.
function isOf(record, test) {
  if (record.suite === undefined) return false;
  return record.suite === test || (record.case !== undefined && `${record.suite}/${record.case}` === test);
}
