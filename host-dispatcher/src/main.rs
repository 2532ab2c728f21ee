//! `pumice`: parse, run, exit status.

use std::process::ExitCode;

use clap::Parser;
use host_dispatcher::cli::Cli;
use host_dispatcher::command;

fn main() -> ExitCode {
    ExitCode::from(command::run(&Cli::parse()))
}
