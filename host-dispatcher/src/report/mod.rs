//! What people and programs are shown of a run.
//!
//! A [`Reporter`] is told every event. [`text`] makes the words, [`summary`] and [`suite`] fold events into what a run came to, and
//! the reporters write: [`terminal`] for a person who watches, [`lines`] for a log file, [`json`] for a program.
//! [`html`] makes one file of a run and the web [`page`], with what [`timeline_spans`] says went on when.
//! The other modules are forms that other tools read: [`junit`], [`tap13`], [`kcidb`], and LAVA's in [`lava`], [`lava_log`]
//! and [`callback`]; [`compare`] holds a run against another one, or against LAVA's.

pub mod bundle;
pub mod callback;
pub mod compare;
pub mod html;
pub mod json;
pub mod junit;
pub mod kcidb;
pub mod lava;
pub mod lava_log;
pub mod lava_log_file;
pub mod lines;
pub mod log_filter;
pub mod log_line;
pub mod page;
pub mod results_form;
pub mod rows;
pub mod suite;
pub mod summary;
pub mod tap13;
pub mod terminal;
pub mod text;
pub mod timeline_spans;
pub mod yaml;

use std::io::{self, IsTerminal};
use std::path::Path;

use crate::job::event::Stamped;
use summary::Summary;

/// Is told what happens in a run. What it cannot write is lost silently: a closed pipe must not stop a run.
pub trait Reporter {
    /// Something happened; progress included.
    fn event(&mut self, event: &Stamped);

    /// Some time passed without an event: what moves may move. Called a few times a second, or never.
    fn tick(&mut self) {}

    /// Others write on the terminal until the next event: what moves is taken away.
    fn pause(&mut self) {}

    /// The run is over, and its directory is complete.
    fn finish(&mut self, summary: &Summary, directory: &Path);
}

/// The reporter for this process: JSON on standard output if `json`; else words on standard error, with a moving
/// progress bar if that is a terminal, and the summary on standard output. Reads `NO_COLOR` (<https://no-color.org>).
pub fn for_process(json: bool) -> Box<dyn Reporter> {
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if json {
        Box::new(json::Json::new(io::stdout()))
    } else if io::stderr().is_terminal() {
        Box::new(terminal::Terminal::new(color, color && io::stdout().is_terminal()))
    } else {
        Box::new(lines::Lines::new(io::stderr(), io::stdout()))
    }
}

/// The same for one of several runs of this process, whose lines and objects say which: nothing moves then.
pub fn for_node(json: bool, label: &str) -> Box<dyn Reporter> {
    if json {
        Box::new(json::Json::labeled(label, io::stdout()))
    } else {
        Box::new(lines::Lines::labeled(label, io::stderr(), io::stdout()))
    }
}
