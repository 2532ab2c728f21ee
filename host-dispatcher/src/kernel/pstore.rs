//! What a dying kernel left in memory that outlives it: the texts of `dmesg-ramoops-0` and its like.
//!
//! A text begins with `Panic#2 Part1` (fs/pstore/platform.c, `pstore_dump`) and has the records of the log with their
//! priorities, `<6>[    1.234567] text`. A long log has several parts, the end of it first.

use agent_core::time::Instant;

use super::console::split_prefix;
use super::cutter::{Cutter, Report};

/// The reports in the texts of one crash, in any order; at most [`BYTES_MAX`] bytes of them are read.
pub fn reports(texts: &[String]) -> Vec<Report> {
    let mut parts: Vec<(u32, u32, &str)> = texts.iter().flat_map(|text| split(text)).collect();
    parts.sort_by_key(|(crash, part, _)| (*crash, std::cmp::Reverse(*part)));
    let mut cutter = Cutter::default();
    let mut found = Vec::new();
    let (mut read_bytes, mut last) = (0, None);
    for (crash, _, text) in parts {
        if last.replace(crash).is_some_and(|last| last != crash) {
            cutter.finish();
        }
        for line in text.lines() {
            read_bytes += line.len();
            if read_bytes > BYTES_MAX {
                break;
            }
            // The beginning of a part may be the rest of a record; its priority is gone.
            let Some((prefix, text)) = split_prefix(line) else { continue };
            if prefix.priority.is_none_or(|priority| priority < 8) {
                cutter.handle_line(Instant::ZERO, Some(prefix.board_us), text);
                found.extend(std::iter::from_fn(|| cutter.poll_report()));
            }
        }
    }
    cutter.finish();
    found.extend(std::iter::from_fn(|| cutter.poll_report()));
    found
}

/// Crash, part and text of each part.
fn split(text: &str) -> Vec<(u32, u32, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut number, mut at) = (0, (0, 0), 0);
    for line in text.split_inclusive('\n') {
        if let Some(next) = header(line) {
            parts.push((number.0, number.1, &text[begin..at]));
            (begin, number) = (at + line.len(), next);
        }
        at += line.len();
    }
    parts.push((number.0, number.1, &text[begin..]));
    parts
}

/// `Oops#1 Part2`
fn header(line: &str) -> Option<(u32, u32)> {
    let (reason, rest) = line.trim_end().split_once('#')?;
    let (crash, part) = rest.split_once(" Part")?;
    let is_word = !reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word { Some((crash.parse().ok()?, part.parse().ok()?)) } else { None }
}

/// Larger than any ramoops area in use.
pub const BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::samples;
    use super::*;

    #[test]
    fn a_crash_in_two_parts_is_put_together() {
        let lines: Vec<String> = samples::records(samples::ARM_PANIC, 5_000_000)
            .iter()
            .map(|(us, text)| format!("<4>[{:5}.{:06}] {text}\n", us / 1_000_000, us % 1_000_000))
            .collect();
        let (first, second) = lines.split_at(lines.len() / 2);
        let older = format!("Panic#1 Part2\n{}", first.concat());
        let newer = format!("Panic#1 Part1\n{}", second.concat());
        for texts in [vec![newer.clone(), older.clone()], vec![format!("{newer}{older}")]] {
            let found = reports(&texts);
            let kinds: Vec<Kind> = found.iter().map(|report| report.kind).collect();
            assert_eq!(kinds, [Kind::Oops, Kind::Panic]);
            let whole = format!("{}\n{}", found[0].text, found[1].text);
            assert_eq!(whole, samples::ARM_PANIC.trim_end());
        }
    }

    #[test]
    fn what_user_space_wrote_and_garbage_are_none() {
        for text in [
            "Oops#1 Part1\n<12>[    1.000000] Oops: 0000 [#1]\n",
            "\0\0\0",
            "Oops#1 Part99999999999\n",
            "",
        ] {
            assert_eq!(reports(&[text.to_owned()]), [], "{text:?}");
        }
    }
}
