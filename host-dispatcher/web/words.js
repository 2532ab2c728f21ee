// Times, amounts and texts as a person reads them.

export const SOURCES = ["kernel", "stdout", "stderr", "user_console", "console", "agent", "dispatcher", "boot_loader", "agent_line"];
export const LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

const SHORT = { kernel: "kern", stdout: "out", stderr: "err", user_console: "user", console: "cons", agent: "agent", dispatcher: "disp", boot_loader: "boot", agent_line: "line" };

// A source as it stands in a narrow column.
export function shortSource(source) {
  return SHORT[source] ?? "?";
}

// A source in words.
export function longSource(source) {
  return String(source).replaceAll("_", " ");
}

// Microseconds since 1970 of an RFC 3339 time; NaN where it is none. Dates of JavaScript know milliseconds only.
export function micros(time) {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(time ?? "");
  if (!parts) return NaN;
  return Date.parse(parts[1] + parts[3]) * 1000 + Number((parts[2] ?? "").padEnd(6, "0").slice(0, 6));
}

// The time of so many microseconds since 1970, as events and logs have it.
export function timeOf(us) {
  const second = Math.floor(us / 1e6);
  const rest = String(Math.round(us - second * 1e6)).padStart(6, "0");
  return `${new Date(second * 1000).toISOString().slice(0, 19)}.${rest}Z`;
}

// Seconds from the run's start, with all that is known of them.
export function offset(us, digits = 6) {
  return Number.isFinite(us) ? (us / 1e6).toFixed(digits) : "";
}

// A length of time.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${rest} s`;
}

// How sure a time is.
export function uncertainty(us) {
  if (us === null || us === undefined) return "uncertainty unknown";
  return us < 1000 ? `± ${us} µs` : `± ${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms`;
}

// An amount of bytes.
export function bytes(count) {
  if (!Number.isFinite(count)) return "";
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; count >= 1024 && unit < 3; unit += 1) count /= 1024;
  return `${unit === 0 ? count : count.toFixed(count < 10 ? 2 : 1)} ${units[unit]}`;
}

// A number with its thousands apart.
export function amount(count) {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

// So many of something: "1 board", "2 boards".
export function counted(count, one) {
  return `${amount(count)} ${one}${count === 1 ? "" : "s"}`;
}

// A date and time, UTC, to the second.
export function clock(time) {
  return time ? `${time.slice(0, 10)} ${time.slice(11, 19)}` : "";
}

// How long ago.
export function ago(time, now = Date.now()) {
  const seconds = (now - micros(time) / 1000) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// Text with what cannot be seen, or turns the direction of what follows, as escapes; tabs as spaces. Pictures of control
// characters are in few fonts.
export function visible(text) {
  return text.replaceAll("\t", "    ").replace(UNSEEN, (character) => {
    const code = character.codePointAt(0).toString(16);
    return code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, "0")}`;
  });
}

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
