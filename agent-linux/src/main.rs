//! `pumice-agent`: the agent on a Linux board.
//!
//! What the agent does stands in `agent-core`: it takes bytes of the line and events and gives back effects. This
//! program is the shell around it, in layers:
//!
//! * [`options`]: what was typed, or what the kernel passed to its `init=`;
//! * [`run`]: the poll loop: line, signals, kernel log and the pipes of children, one deadline, no threads;
//! * [`board`]: does the effects, with one file an idea ([`files`], [`listing`], [`block`], [`partitions`],
//!   [`mounts`], [`children`], [`run_files`], [`test_socket`], [`user_console`], [`info`]);
//! * [`helper`]: what the program does under another name, called by a test;
//! * [`sys`]: the only place that names `nix`, and the only one with `unsafe`.
//!
//! Size decides here (128 KiB is the goal for a static ARMv7 program): no `format!` where bytes can be pushed, no
//! maps, and standard library calls rather than crates.
#![deny(unsafe_code)]

mod block;
mod board;
mod children;
mod files;
mod helper;
mod info;
mod kernel_log;
mod line;
mod listing;
mod mounts;
mod options;
mod partitions;
mod problem;
mod run;
mod run_files;
mod sys;
mod test_socket;
mod user_console;

use options::{Command, HELP, Options};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use sys::init;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let is_spared = name.as_encoded_bytes().starts_with(b"@");
    let is_keeper = name.as_encoded_bytes() == init::KEEPER.to_bytes();
    let words: Vec<_> = words.collect();
    let called = Path::new(&name).file_name().and_then(|name| name.to_str());
    if let Some(status) = called.and_then(|name| helper::run(name, &words)) {
        return status;
    }
    let is_init = init::is_first_process();
    // The kernel gives its `init=` all words of the command line that it does not know itself.
    let tolerant = is_init || is_spared;
    match options::parse(&words, tolerant) {
        Ok(Command::Run(options)) if is_init => {
            let problem = init::start(&words, || options.line.or_else(line::console));
            // Here only when no real init could be started.
            say(&["cannot start the real init: ", problem]);
            ExitCode::FAILURE
        }
        Ok(Command::Run(_)) if is_keeper => {
            init::keep(&words);
            ExitCode::SUCCESS
        }
        Ok(Command::Run(options)) => serve(options, is_spared),
        Ok(Command::Version) => print(&["pumice-agent ", env!("CARGO_PKG_VERSION"), "\n"]),
        Ok(Command::Help) => print(&[HELP]),
        Err(problem) => {
            say(&[problem.what, " '", &problem.word, "'; see --help"]);
            ExitCode::from(2)
        }
    }
}

fn serve(options: Options, is_spared: bool) -> ExitCode {
    if is_spared {
        init::settle("pumice-agent");
    }
    match run::run(options, is_spared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let os_error = problem.os_error.to_string();
            say(&["cannot start with ", &problem.text, ": errno ", &os_error]);
            ExitCode::FAILURE
        }
    }
}

fn print(parts: &[&str]) -> ExitCode {
    let mut out = std::io::stdout();
    for part in parts {
        // Nobody is left to be told that nobody listens.
        let _ = out.write_all(part.as_bytes());
    }
    ExitCode::SUCCESS
}

fn say(parts: &[&str]) {
    let mut line = String::from("pumice-agent: ");
    for part in parts {
        line.push_str(part);
    }
    line.push('\n');
    // In one write, as it may go to a console that others use.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
