//! Has a board's power switched: finds what the lab says for an operation, begins it, and hears how it ended.
//!
//! Nothing waits here: commands and processes are the loop's, requests have a thread, and a person takes their time.

use std::time::Duration;

use agent_core::time;

use super::event_loop::Reactor;
use super::pdudaemon;
use crate::board::PowerOperation;
use crate::config::power::{HostCommand, Power, Switch, Uhubctl};
use crate::config::template::Values;
use crate::worker::Worker;

/// The switch of one board.
#[derive(Debug)]
pub(crate) struct Switcher {
    power: Power,
    values: Values,
    under_way: UnderWay,
}

#[derive(Debug)]
enum UnderWay {
    Nothing,
    /// A command, whose output may have to say something.
    Command(Option<(Uhubctl, PowerOperation)>),
    Request(Worker<Outcome>),
    Question,
}

/// Accepted, or a sentence that says why not.
pub(crate) type Outcome = Result<(), String>;

impl Switcher {
    pub(crate) fn new(power: Power, values: Values) -> Self {
        Self { power, values, under_way: UnderWay::Nothing }
    }

    /// Begins an operation. What was under way is given up.
    ///
    /// # Errors
    /// It cannot be begun; a sentence says why.
    pub(crate) fn begin(
        &mut self,
        reactor: &mut Reactor,
        board: usize,
        operation: PowerOperation,
    ) -> Outcome {
        let Power::Switch(switch, patience) = &self.power else { return Err(NO_SWITCH.into()) };
        let limit = limit(patience.deadline);
        let argv =
            |command: &HostCommand| command.argv(&self.values).map_err(|error| error.to_string());
        self.under_way = match switch {
            Switch::Commands { .. } => {
                let command = switch.command(operation).ok_or(NO_SWITCH)?;
                reactor.run(board, &argv(command)?, limit);
                UnderWay::Command(None)
            }
            Switch::Uhubctl(port) => {
                let argv = port.argv(operation).ok_or(NO_SWITCH)?;
                reactor.run(board, &argv, limit);
                UnderWay::Command(Some((port.clone(), operation)))
            }
            Switch::Pdudaemon(outlet) => {
                let url = outlet.request(operation).ok_or(NO_SWITCH)?;
                let (waker, deadline) = (reactor.worker_waker(board), patience.deadline);
                let worker = Worker::spawn(
                    "power",
                    ANSWERS,
                    move || waker.wake(),
                    Err("the request stopped short".to_owned()),
                    move |_| pdudaemon::ask(&url, deadline),
                );
                UnderWay::Request(worker.map_err(|error| format!("no thread: {error}"))?)
            }
            Switch::Exec(command) => {
                match operation {
                    PowerOperation::On => reactor.hold(board, &argv(command)?),
                    PowerOperation::Off => reactor.let_go(board),
                    PowerOperation::Cycle => return Err(NO_SWITCH.into()),
                }
                UnderWay::Nothing
            }
            Switch::Ask => UnderWay::Question,
        };
        Ok(())
    }

    /// The command has ended.
    pub(crate) fn handle_command(&mut self, outcome: Result<String, String>) -> Outcome {
        let check = match std::mem::replace(&mut self.under_way, UnderWay::Nothing) {
            UnderWay::Command(check) => check,
            _ => None,
        };
        let output = outcome?;
        check.map_or(Ok(()), |(port, operation)| port.check(&output, operation))
    }

    /// What a request came to, once it has.
    pub(crate) fn poll_request(&mut self) -> Option<Outcome> {
        let UnderWay::Request(worker) = &mut self.under_way else { return None };
        let outcome = worker.poll()?;
        self.under_way = UnderWay::Nothing;
        Some(outcome)
    }

    /// Whether a person is asked.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.under_way, UnderWay::Question)
    }

    /// Takes a question back, or takes the answer to it.
    pub(crate) fn end_question(&mut self) {
        if self.is_asking() {
            self.under_way = UnderWay::Nothing;
        }
    }
}

fn limit(deadline: Duration) -> time::Duration {
    time::Duration::from_millis(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))
}

const NO_SWITCH: &str = "the power of this board cannot be switched so";
/// A request has one.
const ANSWERS: usize = 1;
