//! Bootstrap: where no agent shows itself and the board's `shell:` says how to get at one, the dispatcher puts the agent
//! there through it, and the session begins with that.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use agent_core::time::{Duration, Instant};

use super::{Bench, Fault, hand_over};
use crate::board::{Goal, Slot};
use crate::bootstrap::{Bootstrap, Failure, Login, Program, Progress, Report, Request};
use crate::config::shell::Shell;
use crate::job::event::Event;

/// The action, on record.
pub const BOOTSTRAP: &str = "bootstrap";

impl Bench {
    /// While a goal with an agent is on its way: puts one there whenever none shows itself. Ends only with a fault; the
    /// agent's session is what [`Bench::reach`] waits for. Never, where the board has no `shell:`.
    pub(super) async fn keep_agent_there(&self, goal: Goal) -> Fault {
        let shell = self.board(|board, _| board.spec().shell.clone());
        let (Some(shell), Goal::AnyUp | Goal::Up(Slot::Master)) = (shell, goal) else {
            return std::future::pending().await;
        };
        // One that was on its way to another goal is of no use any more.
        self.board(|board, _| board.end_bootstrap());
        loop {
            let at = self.until(|| self.board(|board, _| board.shell_at())).await;
            self.sleep_until(at).await;
            // Something may have been heard meanwhile.
            if self.board(|board, now| board.shell_at().is_none_or(|at| at > now)) {
                continue;
            }
            if let Err(fault) = self.action(BOOTSTRAP, self.bootstrap(&shell)).await {
                return fault;
            }
        }
    }

    /// What the last bootstrap came to, in a sentence; `None` where there was none.
    pub fn bootstrapped(&self) -> Option<String> {
        self.inner.bootstrapped.borrow().clone()
    }

    /// What is left of a bootstrap that nobody wants any more is removed from the board, as far as it answers.
    pub(super) async fn clean_up_bootstrap(&self) {
        let is_active = self.board(|board, now| {
            let bootstrap = board.bootstrap();
            bootstrap.map(|bootstrap| bootstrap.cancel(now)).is_some()
        });
        if is_active {
            let done = self.until(|| match self.poll_bootstrap() {
                Some(Report::CleanedUp | Report::Failed(_)) => Some(()),
                _ => None,
            });
            let _ = self.within(CLEAN_UP, done).await;
            // The loop's end is still to be typed.
            self.sleep(LAST_LINE).await;
            self.board(|board, _| board.end_bootstrap());
        }
    }

    async fn bootstrap(&self, shell: &Shell) -> Result<(), Fault> {
        let login = login_of(shell)?;
        let secret = login.password.clone().unwrap_or_default();
        let spec = self.board(|board, _| board.spec().clone());
        let request = Request {
            login,
            folders: shell.folders.clone(),
            arguments: shell.arguments.clone(),
            character_delay: shell.character_delay.map(|delay| {
                Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
            }),
            // Eight bits, a start and a stop.
            characters_per_second: spec.line.baud / 10,
            patience: spec.deadlines.beacon,
        };
        let started = self.now();
        let seed =
            started.as_micros() ^ u64::from(self.wall().subsec_nanosecond().unsigned_abs()) << 8;
        self.board(|board, now| board.begin_bootstrap(Bootstrap::new(now, request, seed), &secret));
        let outcome = self.carry_bootstrap(shell, started).await;
        if outcome.is_err() {
            self.clean_up_bootstrap().await;
        }
        self.board(|board, _| board.end_bootstrap());
        outcome
    }

    async fn carry_bootstrap(&self, shell: &Shell, started: Instant) -> Result<(), Fault> {
        let mut told = Progress::default();
        loop {
            let report = self
                .until(|| match self.poll_bootstrap() {
                    Some(report) => Some(Some(report)),
                    None if self.board(|board, _| board.is_up()) => Some(None),
                    None => {
                        self.tell_bootstrap(&mut told);
                        None
                    }
                })
                .await;
            match report {
                None => {
                    let progress = self.bootstrap_progress();
                    let text = said(progress, self.now().since(started));
                    *self.inner.bootstrapped.borrow_mut() = Some(text.clone());
                    self.tell(Event::Note { text });
                    return Ok(());
                }
                Some(Report::Machine(machine)) => {
                    let program = self.program_for(shell, &machine)?;
                    self.board(|board, now| {
                        if let Some(bootstrap) = board.bootstrap() {
                            bootstrap.give_program(now, program);
                        }
                    });
                }
                Some(Report::CleanedUp) => return Err(fault_of(&Failure::NotStarted)),
                Some(Report::Failed(failure)) => return Err(fault_of(&failure)),
            }
        }
    }

    fn program_for(&self, shell: &Shell, machine: &str) -> Result<Arc<Program>, Fault> {
        let lab_agent = self.board(|board, _| board.spec().agents.get(machine).cloned());
        let Some(path) = shell.agent.clone().or(lab_agent) else {
            return Err(Fault::configuration(format!(
                "there is no agent for {}: give it with agents: {{{machine}: FILE}} in the lab file, or --agent FILE",
                if machine.is_empty() { "this board" } else { machine },
            )));
        };
        hand_over::check_program(&path)?;
        let program = std::fs::read(&path).and_then(Program::new);
        program.map(Arc::new).map_err(|error| Fault::job(format!("{}: {error}", path.display())))
    }

    fn poll_bootstrap(&self) -> Option<Report> {
        self.board(|board, _| board.bootstrap()?.poll_report())
    }

    fn bootstrap_progress(&self) -> Progress {
        self.board(|board, _| board.bootstrap().map(|bootstrap| bootstrap.progress()))
            .unwrap_or_default()
    }

    fn tell_bootstrap(&self, told: &mut Progress) {
        let progress = self.bootstrap_progress();
        if progress != *told && progress.total_bytes > 0 {
            *told = progress;
            self.tell(Event::ActionProgress {
                action: BOOTSTRAP.to_owned(),
                done_bytes: progress.done_bytes,
                total_bytes: Some(progress.total_bytes),
            });
        }
    }
}

/// With the password, which is read now and kept nowhere else.
fn login_of(shell: &Shell) -> Result<Login, Fault> {
    let password = shell.password_file.as_deref().map(password_in).transpose()?;
    Ok(Login {
        user: shell.login.clone(),
        password,
        login_prompt: shell.login_prompt.clone(),
        password_prompt: shell.password_prompt.clone(),
        refused: shell.refused.clone(),
    })
}

/// The first line of a file.
fn password_in(path: &Path) -> Result<String, Fault> {
    let fail =
        |why: &str| Fault::configuration(format!("the password file {}: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(&error.to_string()))?;
    file.take(PASSWORD_FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| fail("it is no text"))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty()
        || password.len() > PASSWORD_MAX
        || password.chars().any(char::is_control)
    {
        return Err(fail("its first line is to be the password, of 1 to 128 printable characters"));
    }
    Ok(password.to_owned())
}

/// What is wrong with the lab's file, and what with the board.
fn fault_of(failure: &Failure) -> Fault {
    match failure {
        Failure::NoUser | Failure::NoPassword(_) | Failure::Refused(_) => {
            Fault::configuration(failure.to_string())
        }
        Failure::NotForMachine(_) => Fault::job(failure.to_string()),
        _ => Fault::infrastructure(failure.to_string()),
    }
}

fn said(progress: Progress, took: Duration) -> String {
    let Progress { total_bytes, found_bytes, repeats, .. } = progress;
    let sent = total_bytes.saturating_sub(found_bytes);
    let seconds = took.as_millis_ceil() as f64 / 1000.0;
    format!(
        "the agent was put there through the shell: {sent} of {total_bytes} packed bytes sent, {repeats} lines repeated, {seconds:.1} s"
    )
}

/// A line, its answer, and a few repetitions.
const CLEAN_UP: Duration = Duration::from_secs(8);
/// A few characters at 9600 baud.
const LAST_LINE: Duration = Duration::from_millis(200);
const PASSWORD_FILE_MAX: u64 = 4096;
const PASSWORD_MAX: usize = 128;
