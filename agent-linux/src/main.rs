//! `pumice-agent`: the agent on a Linux board.
//!
//! What the agent does stands in `agent-core`: it takes bytes of the line and events and gives back effects. This
//! program is the shell around it, in layers:
//!
//! * [`options`]: what was typed, or what the kernel passed to its `init=`;
//! * [`run`]: the poll loop: line, signals, kernel log and the pipes of children, one deadline, no threads;
//! * [`board`]: does the effects, with one file an idea ([`files`], [`listing`], [`deploy`], [`partitions`],
//!   [`mounts`], [`children`], [`run_files`], [`test_socket`], [`user_console`], [`info`]);
//! * [`trial`]: a program that is new on the disk, and the one before it;
//! * [`helper`]: what the program does under another name, called by a test;
//! * [`sys`]: the only place that names `nix`, and the only one with `unsafe`.
//!
//! Size decides here (128 KiB is the goal for a static ARMv7 program): no `format!` where bytes can be pushed, no
//! maps, and standard library calls rather than crates.
#![deny(unsafe_code)]
// See sys::start.
#![cfg_attr(not(test), no_main)]

mod board;
mod children;
mod deploy;
mod files;
mod helper;
mod info;
mod kernel_log;
mod lane;
mod line;
mod listing;
mod mounts;
mod options;
mod partitions;
mod problem;
mod run;
mod run_files;
mod scanner;
mod sys;
mod test_socket;
mod text;
mod trial;
mod user_console;

use options::{Command, HELP, Options};
use sys::init;
use sys::output::{self, STDERR, STDOUT};

/// What the program does; `name` and `words` are those that it was started with. Returns its exit status.
#[cfg_attr(test, allow(dead_code, reason = "only sys::start calls it"))]
fn run_program(name: &[u8], words: &[&[u8]]) -> u8 {
    let is_spared = name.starts_with(b"@");
    let is_keeper = name == init::KEEPER.to_bytes();
    let called = std::str::from_utf8(files::file_name(name)).ok();
    if let Some(status) = called.and_then(|name| helper::run(name, words)) {
        return status;
    }
    let is_init = init::is_first_process();
    // The kernel gives its `init=` all words of the command line that it does not know itself.
    let tolerant = is_init || is_spared;
    match options::parse(words, tolerant) {
        Ok(Command::Run(options)) if is_init => {
            let problem = init::start(words, || options.line.or_else(line::console));
            // Here only when no real init could be started.
            say(&["cannot start the real init: ", problem]);
            1
        }
        Ok(Command::Run(_)) if is_keeper => {
            init::keep(words);
            0
        }
        Ok(Command::Run(options)) => {
            trial::begin();
            serve(options, is_spared)
        }
        Ok(Command::Version) => print(&["pumice-agent ", env!("CARGO_PKG_VERSION"), "\n"]),
        Ok(Command::Help) => print(&[HELP]),
        Err(problem) => {
            say(&[problem.what, " '", &problem.word, "'; see --help"]);
            2
        }
    }
}

fn serve(options: Options, is_spared: bool) -> u8 {
    if is_spared {
        init::settle("pumice-agent");
    }
    match run::run(options, is_spared) {
        Ok(()) => 0,
        Err(problem) => {
            let os_error = text::errno(problem.os_error);
            say(&["cannot start with ", &problem.text, ": errno ", &os_error]);
            1
        }
    }
}

fn print(parts: &[&str]) -> u8 {
    for part in parts {
        output::print(STDOUT, part);
    }
    0
}

fn say(parts: &[&str]) {
    // In one write, as it may go to a console that others use.
    output::print(STDERR, &["pumice-agent: ", &parts.concat(), "\n"].concat());
}
