//! What the words of the command line do: one file a command. Exit statuses come from
//! [`verdict`](crate::job::verdict), or, for `exec`, from the command on the board.

pub mod board_types;
pub mod boards;
pub mod bootstrap;
pub mod check;
pub mod compare;
pub mod completions;
pub mod console;
pub mod deploy;
pub mod exec;
pub mod files;
pub mod hand_over;
pub mod images;
pub mod import_lava;
pub mod info;
pub mod jobs;
pub mod lava_worker;
pub mod line_test;
pub mod log;
pub mod power;
pub mod report;
pub mod results;
pub mod revive;
pub mod run;
mod run_roles;
pub mod serve;
pub mod submit;
pub mod sysrq;
pub mod token;
pub mod watch;

mod callbacks;
mod hands_on;
mod job_texts;
mod lab_client;
mod lab_console;
mod lab_line;

use std::io::{self, Write};

use crate::cli::{Cli, Command};

/// Exit status of a file, option or job that cannot be used.
const STATUS_USAGE: u8 = 2;

/// Does what was typed and returns the exit status.
pub fn run(cli: &Cli) -> u8 {
    let (mut out, mut errors) = (io::stdout(), io::stderr());
    let global = &cli.global;
    let outcome = match &cli.command {
        Command::Run(args) => return run::run(global, args),
        Command::Results(args) => results::results(global, args, &mut out),
        Command::Compare(args) => compare::compare(global, args, &mut out),
        Command::Report(args) => report::report(args, &mut out),
        Command::Log(args) => log::log(global, args, &mut out),
        Command::Exec(args) => return exec::exec(global, args),
        Command::Push { board, local, remote } => return files::push(global, board, local, remote),
        Command::Pull { board, remote, local } => return files::pull(global, board, remote, local),
        Command::Deploy { board, image, partition, dry_run } => {
            return deploy::deploy(global, board, image, partition, *dry_run);
        }
        Command::HandOver { board, program, persist } => {
            return hand_over::hand_over(global, board, program, *persist);
        }
        Command::Bootstrap(args) => return bootstrap::bootstrap(global, args),
        Command::Revive(args) => return revive::revive(global, args),
        Command::Info { board } => return info::info(global, board),
        Command::LineTest(args) => return line_test::line_test(global, args),
        Command::Power { board, operation } => return power::power(global, board, *operation),
        Command::Reboot { board } => return power::reboot(global, board),
        Command::Console { board } => return console::console(global, board),
        Command::LabLine { board } => return lab_line::line(global, board),
        Command::LabSwitch { board, operation } => {
            return lab_line::switch(global, board, *operation);
        }
        Command::Break { board } => return sysrq::send_break(global, board),
        Command::Sysrq { board, key } => return sysrq::sysrq(global, board, *key),
        Command::Serve(args) => return serve::serve(global, args),
        Command::LavaWorker(args) => return lava_worker::lava_worker(global, args),
        Command::Submit(args) => return submit::submit(global, args),
        Command::Jobs(args) => return jobs::jobs(global, args),
        Command::Watch(args) => return watch::watch(global, args),
        Command::Cancel { job } => return jobs::cancel(global, *job),
        Command::Boards { board } => return boards::boards(global, board.as_deref()),
        Command::Acquire { board, period, reason } => {
            return boards::acquire(global, board, *period, reason);
        }
        Command::Release { board } => return boards::release(global, board),
        Command::Health { board, health, reason } => {
            return boards::health(global, board, *health, reason);
        }
        Command::Check { files } => {
            check::check(files, global.lab.as_deref(), global.json, &mut out, &mut errors)
        }
        Command::ImportLava(args) => {
            import_lava::import_lava(args, global.json, &mut out, &mut errors)
        }
        Command::BoardTypes { action } => {
            let lab = global.lab.as_deref();
            board_types::board_types(action.as_ref(), lab, global.json, &mut out, &mut errors)
        }
        Command::Images { action } => images::images(global, *action, &mut out, &mut errors),
        Command::Token { action } => token::token(global, action, &mut out),
        Command::Completions { shell } => completions::completions(*shell, &mut out).map(|()| 0),
    };
    // A reader that has seen enough closes the pipe: no error of ours.
    match outcome.and_then(|status| out.flush().map(|()| status)) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => complain(&error.to_string()),
    }
}

/// Whether the user wants colours on a terminal (<https://no-color.org>).
fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says what is wrong, in one line.
fn complain(message: &str) -> u8 {
    complain_with(STATUS_USAGE, message)
}

/// The same with another exit status.
fn complain_with(status: u8, message: &str) -> u8 {
    let _ = writeln!(io::stderr(), "pumice: {message}");
    status
}
