//! A board among those of its job: fetches what its tests call, and brings them the answers.
//!
//! One request for the next call is always open while the tests run; the agent answers it when there is one. What is
//! known of calls outlives sessions: one that came is not taken twice, and an answer is sent until the agent has it. A new
//! start of the agent counts anew, and nobody waits there any more.

use std::cell::RefCell;
use std::rc::Rc;

use agent_core::time::Duration;
use agent_core::wire::node::NodeCall;
use agent_core::wire::{Method, request, response};

use super::{Bench, Fault, race};
use crate::board::AgentStart;
use crate::job::event::Event;
use crate::multinode::coordinator::{Answer, Node, Ticket, What};
use crate::multinode::group::Group;

/// A board's place among those of its job.
#[derive(Clone, Debug)]
pub struct Seat {
    group: Rc<RefCell<Group>>,
    node: Node,
    calls: Rc<RefCell<Calls>>,
}

/// What is known of an agent's calls.
#[derive(Debug, Default)]
struct Calls {
    /// Whose they are.
    agent: Option<AgentStart>,
    /// The newest that came.
    taken: u32,
    /// The answer that the agent may not have yet.
    outgoing: Option<(u32, Answer)>,
}

impl Seat {
    /// Of the board with this number in the group.
    pub fn new(group: Rc<RefCell<Group>>, node: Node) -> Self {
        Self { group, node, calls: Rc::default() }
    }

    /// The board has what it needs; waits for the others.
    ///
    /// # Errors
    /// One of them will never be there: with its reason.
    pub async fn meet(&self, bench: &Bench) -> Result<(), Fault> {
        self.group.borrow_mut().handle_prepared(self.node);
        let started = bench.until(|| self.group.borrow().start()).await;
        started.map_err(|(class, message)| Fault { class, message })
    }

    /// The board's tests are over. The first word counts.
    pub fn end(&self, fault: Option<&Fault>) {
        let stopped = fault.map(|fault| (fault.class, fault.message.as_str()));
        self.group.borrow_mut().handle_end(self.node, stopped);
    }

    /// Carries calls and answers in this session. Never returns.
    pub async fn serve(&self, bench: &Bench) {
        let agent = bench.board(|board, _| board.agent_start());
        if self.calls.borrow().agent != agent {
            self.group.borrow_mut().coordinator.handle_restart(self.node);
            *self.calls.borrow_mut() = Calls { agent, ..Calls::default() };
        }
        race(race(self.fetch(bench), self.answer(bench)), self.keep_time(bench)).await;
    }

    /// Takes one call after the other.
    async fn fetch(&self, bench: &Bench) {
        loop {
            let has_room = || self.group.borrow().coordinator.has_room(self.node).then_some(());
            bench.until(has_room).await;
            let taken = self.calls.borrow().taken;
            let body = request::NodeCall { taken };
            match bench.ask_if_known(Method::NODE_CALL, &body, ASK_WAIT).await {
                Ok(Some(answer)) => {
                    // An agent's nonsense is no reason to ask it without a pause.
                    let Ok(call) = answer.read::<response::NodeCall<'_>>() else {
                        bench.sleep(PAUSE).await;
                        continue;
                    };
                    if call.number > taken {
                        self.calls.borrow_mut().taken = call.number;
                        self.take(bench, call.number, &call.call);
                    } else {
                        bench.sleep(PAUSE).await;
                    }
                }
                Ok(None) => {
                    bench.warn(
                        "the agent is older than jobs of several boards: bake the master image anew, or name agent: in the lab",
                    );
                    return std::future::pending().await;
                }
                // The session ended, and this with it; or nothing was called for so long.
                Err(_) => bench.sleep(PAUSE).await,
            }
        }
    }

    fn take(&self, bench: &Bench, number: u32, call: &NodeCall<'_>) {
        let data = String::from_utf8_lossy(call.data);
        let words = data.split('\0').filter(|word| !word.is_empty());
        let (what, name) = match call.kind {
            NodeCall::SEND => {
                let pairs = words.clone().filter_map(|word| word.split_once('='));
                let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
                (What::Send(pairs.collect()), "lava-send")
            }
            NodeCall::WAIT => (What::Wait, "lava-wait"),
            NodeCall::WAIT_ALL => {
                (What::WaitAll(words.clone().next().map(str::to_owned)), "lava-wait-all")
            }
            NodeCall::SYNC => (What::Sync, "lava-sync"),
            kind => {
                let why = format!("the dispatcher is older than this call ({kind})");
                self.calls.borrow_mut().outgoing = Some((number, Err(why)));
                return;
            }
        };
        let words: String = words.map(|word| format!(" {word}")).collect();
        bench.tell(Event::Note { text: format!("{name} {}{words}", call.id) });
        let ticket = Ticket { node: self.node, number };
        self.group.borrow_mut().coordinator.handle_call(bench.now(), ticket, what, call.id);
    }

    /// Brings one answer after the other.
    async fn answer(&self, bench: &Bench) {
        loop {
            let (number, answer) = bench.until(|| self.next_answer()).await;
            let (status, data) = match &answer {
                Ok(text) => (request::NodeAnswer::DONE, text),
                Err(why) => (request::NodeAnswer::FAILED, why),
            };
            if let Err(why) = &answer {
                bench.tell(Event::Note { text: why.clone() });
            }
            let data = data.as_bytes();
            let body = request::NodeAnswer { number, status, data };
            match bench.ask(Method::NODE_ANSWER, &body, ANSWER_WAIT).await {
                Ok(_) => self.calls.borrow_mut().outgoing = None,
                Err(_) => bench.sleep(PAUSE).await,
            }
        }
    }

    fn next_answer(&self) -> Option<(u32, Answer)> {
        let mut calls = self.calls.borrow_mut();
        if calls.outgoing.is_none() {
            calls.outgoing = self.group.borrow_mut().coordinator.poll_answer(self.node);
        }
        calls.outgoing.clone()
    }

    async fn keep_time(&self, bench: &Bench) {
        loop {
            bench.sleep(TICK).await;
            self.group.borrow_mut().coordinator.handle_timeout(bench.now());
        }
    }
}

/// A call may be as far away as a test is long. When this is over, it is asked again.
const ASK_WAIT: Duration = Duration::from_secs(3600);

/// An answer is one message.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits end by their own time, to this.
const TICK: Duration = Duration::from_secs(1);
