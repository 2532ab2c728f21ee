//! Records as lines of text: `kernel.log`, `agent.log` and their like in a run directory.

use std::fmt::Write as _;

use crate::job::event::{LogRecord, Source};

/// The record's lines, as they stand in the log of its source.
pub fn of(record: &LogRecord) -> String {
    prefixed(&prefix_of(record), &record.text)
}

/// What stands before each line of a record in the log of its source.
fn prefix_of(record: &LogRecord) -> String {
    match record.source {
        Source::Kernel if record.lost.is_some() => String::new(),
        Source::Kernel => kernel_prefix(record),
        _ => format!("{:.6} ", record.host_time),
    }
}

/// A record of several lines has its prefix before each, so that no text can pass for a record.
fn prefixed(prefix: &str, text: &str) -> String {
    text.split('\n').fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{prefix}{line}");
        all
    })
}

/// `<6>[    1.234567] `, as `dmesg --raw` prints it, with the facility in the number; kernel/printk/printk.c,
/// `info_print_prefix`.
fn kernel_prefix(record: &LogRecord) -> String {
    let facility = record.facility.unwrap_or(0);
    let priority = |level: u8| format!("<{}>", u16::from(facility) << 3 | u16::from(level));
    let level = record.level.map_or_else(String::new, priority);
    match record.board_time_us {
        Some(us) => format!("{level}[{:5}.{:06}] ", us / 1_000_000, us % 1_000_000),
        None => level,
    }
}
