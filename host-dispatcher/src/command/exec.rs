//! `pumice exec`: a command on a board, as if it ran here.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::response::Exit;
use agent_core::wire::{Method, request};

use super::hands_on::{claim, fail, narrator};
use crate::board::Direction;
use crate::cli::{ExecArgs, Global};
use crate::config::lab::BoardWish;
use crate::job::verdict::ErrorClass;
use crate::script::ask::{Stream, both};
use crate::script::files::{TRANSFER_DEADLINE, ending};
use crate::script::{Bench, Either, Fault, race};

/// Ctrl-C so often is meant: the command is killed.
const KILL_AFTER_INTERRUPTS: u32 = 3;

const SIGINT: u8 = 2;
const SIGKILL: u8 = 9;

/// Runs the command; the exit status is the command's, or 128 and the signal's number as shells have it. With a
/// fault it is the fault's.
pub fn exec(global: &Global, args: &ExecArgs) -> u8 {
    match try_exec(global, args) {
        Ok(exit) => status_of(&exit),
        Err(fault) => fail(&fault),
    }
}

fn try_exec(global: &Global, args: &ExecArgs) -> Result<Exit, Fault> {
    let argv = words(args.command.iter().map(|word| word.as_bytes()))?;
    let env: Vec<String> = args.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let env = words(env.iter().map(String::as_bytes))?;
    let timeout_ms =
        args.timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    let mut claimed = claim(global, &BoardWish::named(&args.board))?;
    let (goal, is_ours) = (claimed.agent_goal(), claimed.is_ours());
    // Without a standard input there is nothing to send.
    let has_stdin = claimed.listen_to_stdin(true).is_ok();
    let observer = narrator();
    let exit = claimed.drive(observer, async |bench| {
        bench.cancelable(bench.reach(goal)).await?;
        let exec = Exec {
            argv: &argv,
            env: &env,
            cwd: args.cwd.as_deref().unwrap_or("/"),
            timeout_ms,
            has_stdin,
        };
        bench.observer(|observer| observer.pause());
        let outcome = exec.run(bench).await;
        if is_ours {
            bench.shut_down().await;
        }
        outcome
    })??;
    if exit.end == Exit::TIMED_OUT {
        let message = format!("{} was killed at its timeout", args.command[0].display());
        return Err(Fault { class: ErrorClass::Timeout, message });
    }
    Ok(exit)
}

/// A command with this process's streams.
struct Exec<'a> {
    argv: &'a [u8],
    env: &'a [u8],
    cwd: &'a str,
    timeout_ms: u32,
    has_stdin: bool,
}

impl Exec<'_> {
    async fn run(&self, bench: &Bench) -> Result<Exit, Fault> {
        let priority = Priority::Interactive;
        let stdin = bench.stream(priority, Direction::ToBoard).await?;
        let stdout = bench.stream(priority, Direction::FromBoard).await?;
        let stderr = bench.stream(priority, Direction::FromBoard).await?;
        let body = request::Exec {
            argv: self.argv,
            env: self.env,
            cwd: self.cwd,
            stdin: stdin.id,
            stdout: stdout.id,
            stderr: stderr.id,
            timeout_ms: self.timeout_ms,
        };
        let asked =
            bench.start(Method::EXEC, &body, &[&stdin, &stdout, &stderr], TRANSFER_DEADLINE);
        let request = asked.id().0;
        stdout.widen(WINDOW);
        stderr.widen(WINDOW);
        let output = both(copy(&stdout, std::io::stdout()), copy(&stderr, std::io::stderr()));
        let answer = ending(&stdout, ending(&stderr, asked.answer()));
        let life = async { both(answer, output).await.0 };
        let input = async {
            self.send_input(bench, &stdin).await;
            std::future::pending::<()>().await;
        };
        let interrupts = async {
            self.pass_interrupts(bench, request).await;
        };
        let answer = match race(life, race(input, interrupts)).await {
            Either::First(answer) => answer?,
            Either::Second(_) => return Err(Fault::infrastructure("the command was given up")),
        };
        if answer.is_late() && (stdout.was_cut() || stderr.was_cut()) {
            bench.warn(
                "the session with the agent was lost while the command ran: the end of its output is missing",
            );
        }
        answer.read()
    }

    async fn send_input(&self, bench: &Bench, stdin: &Stream) {
        if self.has_stdin {
            while let Some(bytes) = bench.until(|| bench.take_stdin()).await {
                if !stdin.write(&bytes).await {
                    return;
                }
            }
        }
        stdin.finish().await;
    }

    async fn pass_interrupts(&self, bench: &Bench, request: u32) {
        let mut seen = bench.interrupts();
        let first = seen;
        loop {
            bench.until(|| (bench.interrupts() > seen).then_some(())).await;
            seen = bench.interrupts();
            let is_meant = seen - first >= KILL_AFTER_INTERRUPTS;
            let signal = if is_meant { SIGKILL } else { SIGINT };
            if bench.within(SIGNAL_WAIT, bench.signal(request, signal)).await.is_none() && is_meant
            {
                return;
            }
        }
    }
}

/// Copies a stream to one of ours. When ours is closed the rest is dropped, as the command would find out by SIGPIPE.
async fn copy(stream: &Stream, mut to: impl Write) {
    while let Some(bytes) = stream.read().await {
        if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
            stream.reset();
            return;
        }
    }
}

fn status_of(exit: &Exit) -> u8 {
    match exit.end {
        Exit::EXITED => exit.code,
        Exit::SIGNALED => exit.code.saturating_add(128),
        _ => ErrorClass::Timeout.exit_status(),
    }
}

/// Words that each end with a NUL.
fn words<'w>(words: impl Iterator<Item = &'w [u8]>) -> Result<Vec<u8>, Fault> {
    let mut list = Vec::new();
    for word in words {
        if word.contains(&0) {
            return Err(Fault::configuration("a word of a command has no NUL in it"));
        }
        list.extend_from_slice(word);
        list.push(0);
    }
    if list.len() > WORDS_MAX {
        return Err(Fault::configuration(format!(
            "the words of a command have at most {WORDS_MAX} bytes: put a script on the board with push"
        )));
    }
    Ok(list)
}

/// What a message holds beside its other fields.
const WORDS_MAX: usize = 3 * 1024;

/// Credit of an output beyond the first.
const WINDOW: usize = 16 * 1024;

/// A signal that is not answered is given up.
const SIGNAL_WAIT: Duration = Duration::from_secs(10);
