//! What the tests of one job say to each other over its boards, as LAVA's coordinator has it.
//!
//! Messages have ids and stay until the job ends: who waits for one that was sent is answered at once, as often as it
//! asks, with what every node has said under that id so far. A wait for all needs every node of the role, or of the job;
//! a sync needs every node, leaves nothing behind, and its id can be used again. What LAVA leaves to a timeout is known
//! here: when a node that is needed has ended, who waits for it is told so at once, by its name.
//!
//! The source of these rules is LAVA's coordinator (`lavaSend`, `lavaWait`, `lavaWaitAll`, `lavaSync`) and its MultiNode
//! API documentation, where they differ the latter. Other than there, a value may hold `=`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use agent_core::time::{Duration, Instant};
use agent_core::wire::node::NODE_ANSWER_MAX;

/// A board of the job: its index in the list that the coordinator was made with.
pub type Node = usize;

/// Ids of messages in one job. Tests use a handful.
pub const IDS_MAX: usize = 1024;

/// Helpers of one board that wait at a time; its agent lets four.
const WAITS_MAX: usize = 8;

/// Answers of one board that wait to be fetched: more is an agent that calls and does not listen.
const ANSWERS_MAX: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct Coordinator {
    nodes: Vec<Member>,
    /// What was said, by id, then by node in the order in which they said it.
    messages: BTreeMap<String, Vec<(Node, String)>>,
    /// Who has come to a sync that is not complete, by id.
    syncs: BTreeMap<String, Vec<Node>>,
    waits: Vec<Wait>,
    wait_timeout: Duration,
    answers: VecDeque<(Ticket, Answer)>,
    /// Grows with everything that may let somebody go on.
    version: u64,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    role: String,
    /// Why it says nothing any more.
    ended: Option<String>,
}

/// Somebody who waits.
#[derive(Clone, Debug)]
struct Wait {
    ticket: Ticket,
    what: What,
    id: String,
    due: Instant,
}

/// What a node calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Says something: keys and values.
    Send(Vec<(String, String)>),
    /// Waits until some node has said it.
    Wait,
    /// Waits until all nodes of a role have said it, or all.
    WaitAll(Option<String>),
    /// Waits until all nodes are here.
    Sync,
}

/// Which call an answer is for: the node's own number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Who called.
    pub node: Node,
    /// The number that it gave the call.
    pub number: u32,
}

/// What a call is answered: the text of the cache file (`node:key=value` lines), or a sentence that says why not.
pub type Answer = Result<String, String>;

impl Coordinator {
    /// Of nodes with these names and roles. No wait lasts longer than `wait_timeout`.
    pub fn new(nodes: impl IntoIterator<Item = (String, String)>, wait_timeout: Duration) -> Self {
        let nodes = nodes.into_iter().map(|(name, role)| Member { name, role, ended: None });
        Self {
            nodes: nodes.collect(),
            messages: BTreeMap::new(),
            syncs: BTreeMap::new(),
            waits: Vec::new(),
            wait_timeout,
            answers: VecDeque::new(),
            version: 0,
        }
    }

    /// A node calls. Each call is answered once, now or later, unless its node ends first.
    pub fn handle_call(&mut self, now: Instant, ticket: Ticket, what: What, id: &str) {
        self.version += 1;
        let Ticket { node, .. } = ticket;
        if node >= self.nodes.len() {
            return;
        }
        let is_waiting = |wait: &&Wait| wait.ticket.node == node;
        if self.waits.iter().filter(is_waiting).count() >= WAITS_MAX {
            let answer = Err(format!("at most {WAITS_MAX} helpers of a board wait at a time"));
            return self.answers.push_back((ticket, answer));
        }
        match what {
            What::Send(data) => {
                let answer = self.send(node, id, &data).map(|()| String::new());
                self.answers.push_back((ticket, answer));
            }
            What::WaitAll(Some(role)) if !self.nodes.iter().any(|node| node.role == role) => {
                let answer = Err(format!("lava-wait-all {id}: no board has the role {role}"));
                self.answers.push_back((ticket, answer));
            }
            what => {
                if what == What::Sync {
                    if !self.syncs.contains_key(id) && self.syncs.len() >= IDS_MAX {
                        let answer = Err(format!("a job has at most {IDS_MAX} syncs under way"));
                        return self.answers.push_back((ticket, answer));
                    }
                    let here = self.syncs.entry(id.to_owned()).or_default();
                    if !here.contains(&node) {
                        here.push(node);
                    }
                }
                let due = now + self.wait_timeout;
                self.waits.push(Wait { ticket, what, id: id.to_owned(), due });
            }
        }
        self.settle();
    }

    /// How long a call waits that comes from now on.
    pub fn set_wait_timeout(&mut self, wait_timeout: Duration) {
        self.wait_timeout = wait_timeout;
    }

    /// A node's tests are over, whatever the reason: it says nothing any more. What it said stays said. The first reason
    /// counts. `why` goes on behind its name: "has ended its tests".
    pub fn handle_end(&mut self, node: Node, why: &str) {
        let Some(member) = self.nodes.get_mut(node) else { return };
        if member.ended.is_some() {
            return;
        }
        self.version += 1;
        member.ended = Some(why.to_owned());
        self.handle_restart(node);
        self.settle();
    }

    /// Forgets what a node has under way: its agent was started anew, and nobody waits there any more.
    pub fn handle_restart(&mut self, node: Node) {
        self.waits.retain(|wait| wait.ticket.node != node);
        self.answers.retain(|(ticket, _)| ticket.node != node);
        for here in self.syncs.values_mut() {
            here.retain(|other| *other != node);
        }
    }

    /// Time has passed: who has waited too long is told so.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (over, waits) = std::mem::take(&mut self.waits).into_iter().partition(|w| now >= w.due);
        self.waits = waits;
        for wait in over {
            self.version += 1;
            let missing = self.missing(&wait);
            let seconds = self.wait_timeout.as_micros() / 1_000_000;
            let said =
                format!("{}: nothing within {seconds} s from {}", wait.name(), names(&missing));
            if let Some(here) = self.syncs.get_mut(&wait.id).filter(|_| wait.what == What::Sync) {
                here.retain(|node| *node != wait.ticket.node);
            }
            self.answers.push_back((wait.ticket, Err(said)));
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waits.iter().map(|wait| wait.due).min()
    }

    /// The next answer for a node.
    pub fn poll_answer(&mut self, node: Node) -> Option<(u32, Answer)> {
        let index = self.answers.iter().position(|(ticket, _)| ticket.node == node)?;
        let (ticket, answer) = self.answers.remove(index)?;
        Some((ticket.number, answer))
    }

    /// Whether the next call of a node may be taken: it fetches its answers.
    pub fn has_room(&self, node: Node) -> bool {
        let waiting = self.answers.iter().filter(|(ticket, _)| ticket.node == node);
        waiting.count() < ANSWERS_MAX
    }

    /// A number that changes with everything that may let a node go on.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn send(&mut self, node: Node, id: &str, data: &[(String, String)]) -> Result<(), String> {
        let mut text = String::new();
        for (key, value) in data {
            // The name is the board's: see the lab file for what it may hold.
            let _ = writeln!(text, "{}:{key}={value}", self.nodes[node].name);
        }
        if !self.messages.contains_key(id) && self.messages.len() >= IDS_MAX {
            return Err(format!("lava-send {id}: a job has at most {IDS_MAX} ids of messages"));
        }
        let said = self.messages.get(id).map_or(&[][..], Vec::as_slice);
        let of_others = said.iter().filter(|(other, _)| *other != node);
        let bytes = of_others.map(|(_, text)| text.len()).sum::<usize>() + text.len();
        if bytes > NODE_ANSWER_MAX {
            return Err(format!(
                "lava-send {id}: with this the boards would have said more than {NODE_ANSWER_MAX} bytes under one id"
            ));
        }
        let said = self.messages.entry(id.to_owned()).or_default();
        // Said again, it counts in the place of what this node said before.
        match said.iter_mut().find(|(other, _)| *other == node) {
            Some((_, before)) => *before = text,
            None => said.push((node, text)),
        }
        Ok(())
    }

    /// Answers all who need not wait any longer. A sync that is complete ends for all at once, before its id is used again.
    fn settle(&mut self) {
        let complete: Vec<String> = self
            .syncs
            .iter()
            .filter(|(_, here)| here.len() == self.nodes.len())
            .map(|(id, _)| id.clone())
            .collect();
        for id in complete {
            self.syncs.remove(&id);
            let is_over = |wait: &Wait| wait.what == What::Sync && wait.id == id;
            for wait in self.waits.extract_if(.., |wait| is_over(wait)) {
                self.answers.push_back((wait.ticket, Ok(String::new())));
            }
        }
        for wait in std::mem::take(&mut self.waits) {
            match self.outcome(&wait) {
                Some(answer) => self.answers.push_back((wait.ticket, answer)),
                None => self.waits.push(wait),
            }
        }
    }

    /// What a wait comes to now; `None`: it waits on.
    fn outcome(&self, wait: &Wait) -> Option<Answer> {
        let missing = self.missing(wait);
        if missing.is_empty() {
            let said = self.messages.get(&wait.id).into_iter().flatten();
            return Some(Ok(said.map(|(_, text)| text.as_str()).collect()));
        }
        let ended: Vec<&Member> =
            missing.iter().copied().filter(|member| member.ended.is_some()).collect();
        let is_hopeless = match wait.what {
            // Anybody would do.
            What::Wait => ended.len() == missing.len(),
            _ => !ended.is_empty(),
        };
        is_hopeless.then(|| {
            let reasons: Vec<String> = ended
                .iter()
                .map(|member| {
                    let why = member.ended.as_deref().unwrap_or_default();
                    format!("{} ({}) {why}", member.name, member.role)
                })
                .collect();
            Err(format!("{}: {}", wait.name(), reasons.join(", ")))
        })
    }

    /// Whom a wait still needs; of a wait for anybody, all others, while none has said it.
    fn missing(&self, wait: &Wait) -> Vec<&Member> {
        let said = self.messages.get(&wait.id).map_or(&[][..], Vec::as_slice);
        let has_said = |node: Node| said.iter().any(|(other, _)| *other == node);
        let nodes = self.nodes.iter().enumerate();
        match &wait.what {
            What::Wait if !said.is_empty() => Vec::new(),
            What::Wait => {
                let others = nodes.filter(|(node, _)| *node != wait.ticket.node);
                others.map(|(_, member)| member).collect()
            }
            What::Sync => {
                let here = self.syncs.get(&wait.id).map_or(&[][..], Vec::as_slice);
                let away = nodes.filter(|(node, _)| !here.contains(node));
                away.map(|(_, member)| member).collect()
            }
            What::WaitAll(role) => {
                let wanted = nodes.filter(|(node, member)| {
                    role.as_ref().is_none_or(|role| *role == member.role) && !has_said(*node)
                });
                wanted.map(|(_, member)| member).collect()
            }
            What::Send(_) => Vec::new(),
        }
    }
}

impl Wait {
    /// As it was typed.
    fn name(&self) -> String {
        let id = &self.id;
        match &self.what {
            What::WaitAll(Some(role)) => format!("lava-wait-all {id} {role}"),
            What::WaitAll(None) => format!("lava-wait-all {id}"),
            What::Sync => format!("lava-sync {id}"),
            What::Wait | What::Send(_) => format!("lava-wait {id}"),
        }
    }
}

fn names(members: &[&Member]) -> String {
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_S: u64 = 60;

    /// One server and two clients.
    struct Job(Coordinator, u32);

    impl Job {
        fn new() -> Self {
            let nodes = [("srv", "server"), ("c1", "client"), ("c2", "client")];
            let nodes = nodes.map(|(name, role)| (name.to_owned(), role.to_owned()));
            Self(Coordinator::new(nodes, Duration::from_secs(WAIT_S)), 0)
        }

        /// The call's number.
        fn call(&mut self, node: Node, words: &str) -> u32 {
            self.1 += 1;
            let words: Vec<&str> = words.split(' ').collect();
            let (what, id) = match words[..] {
                ["send", id, ref pairs @ ..] => {
                    let pairs = pairs.iter().map(|pair| pair.split_once('=').unwrap());
                    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
                    (What::Send(pairs.collect()), id)
                }
                ["wait", id] => (What::Wait, id),
                ["all", id] => (What::WaitAll(None), id),
                ["all", id, role] => (What::WaitAll(Some(role.to_owned())), id),
                ["sync", id] => (What::Sync, id),
                _ => panic!("{words:?}"),
            };
            self.0.handle_call(Instant::ZERO, Ticket { node, number: self.1 }, what, id);
            self.1
        }

        fn answers(&mut self, node: Node) -> Vec<(u32, Answer)> {
            std::iter::from_fn(|| self.0.poll_answer(node)).collect()
        }

        /// The one answer to a call that is made now; `None`: it waits.
        fn ask(&mut self, node: Node, words: &str) -> Option<Answer> {
            let number = self.call(node, words);
            let mut answers = self.answers(node);
            assert!(answers.len() <= 1 && answers.iter().all(|(of, _)| *of == number));
            answers.pop().map(|(_, answer)| answer)
        }
    }

    fn text(text: &str) -> Option<Answer> {
        Some(Ok(text.to_owned()))
    }

    fn why(text: &str) -> Option<Answer> {
        Some(Err(text.to_owned()))
    }

    #[test]
    fn a_message_stays_and_every_wait_for_it_returns_at_once() {
        let mut job = Job::new();
        let waiting = job.call(1, "wait ready");
        assert_eq!(job.answers(1), []);
        assert_eq!(job.ask(0, "send ready ip=10.0.0.1 url=http://x/?a=b"), text(""));
        let said = "srv:ip=10.0.0.1\nsrv:url=http://x/?a=b\n";
        assert_eq!(job.answers(1), [(waiting, Ok(said.to_owned()))]);
        assert_eq!(job.ask(1, "wait ready"), text(said), "as often as it asks");
        assert_eq!(job.ask(0, "wait ready"), text(said), "its sender too");
        job.ask(2, "send ready ip=10.0.0.3");
        job.ask(0, "send ready port=5");
        let both = "srv:port=5\nc2:ip=10.0.0.3\n";
        assert_eq!(job.ask(1, "wait ready"), text(both), "the newest of each");
        assert_eq!(job.ask(0, "send go"), text(""));
        assert_eq!(job.ask(1, "wait go"), text(""), "no data is no line");
    }

    #[test]
    fn all_is_every_node_of_the_role_or_of_the_job() {
        let mut job = Job::new();
        let of_clients = job.call(0, "all up client");
        let of_all = job.call(0, "all up");
        job.ask(1, "send up n=1");
        job.ask(1, "send up n=2");
        assert_eq!(job.answers(0), []);
        job.ask(2, "send up n=3");
        assert_eq!(job.answers(0), [(of_clients, Ok("c1:n=2\nc2:n=3\n".to_owned()))]);
        // What others said under the id comes with it.
        let sent = job.call(0, "send up n=0");
        let said = "c1:n=2\nc2:n=3\nsrv:n=0\n";
        assert_eq!(job.answers(0), [(sent, Ok(String::new())), (of_all, Ok(said.to_owned()))]);
        assert_eq!(job.ask(2, "all up server"), text(said));
        let nobody = why("lava-wait-all up: no board has the role cleint");
        assert_eq!(job.ask(2, "all up cleint"), nobody);
    }

    #[test]
    fn a_sync_needs_all_leaves_nothing_and_can_be_used_again() {
        let mut job = Job::new();
        for _ in 0..3 {
            let (a, b) = (job.call(2, "sync start"), job.call(0, "sync start"));
            assert!(job.answers(2).is_empty() && job.answers(0).is_empty());
            assert_eq!(job.ask(1, "sync start"), text(""));
            assert_eq!(job.answers(2), [(a, Ok(String::new()))]);
            assert_eq!(job.answers(0), [(b, Ok(String::new()))]);
        }
        assert_eq!(job.ask(0, "wait start"), None, "a sync says nothing");
        // One node twice is not two nodes.
        job.call(0, "sync end");
        job.call(0, "sync end");
        assert_eq!(job.ask(1, "sync end"), None);
        assert_eq!(job.ask(2, "sync end"), text(""));
        assert_eq!(job.answers(0).len(), 2);
    }

    #[test]
    fn who_needs_a_node_that_has_ended_is_told_at_once() {
        let mut job = Job::new();
        let waits =
            ["all up client", "all up", "sync end"].map(|words| (job.call(0, words), words));
        let any = job.call(0, "wait up");
        let own = job.call(2, "sync end");
        job.0.handle_end(2, "died: the kernel panicked");
        job.0.handle_end(2, "has ended its tests");
        let answers = job.answers(0);
        for ((number, words), answer) in waits.iter().zip(&answers) {
            let words = words.replace("all", "wait-all");
            let said = format!("lava-{words}: c2 (client) died: the kernel panicked");
            assert_eq!(*answer, (*number, Err(said)));
        }
        assert_eq!(answers.len(), 3, "another may still say it");
        assert!(job.answers(2).iter().all(|(number, _)| *number != own));
        let late = why("lava-sync end: c2 (client) died: the kernel panicked");
        assert_eq!(job.ask(1, "sync end"), late);
        job.0.handle_end(1, "has ended its tests");
        let nobody =
            "lava-wait up: c1 (client) has ended its tests, c2 (client) died: the kernel panicked";
        assert_eq!(job.answers(0), [(any, Err(nobody.to_owned()))]);
        assert_eq!(job.ask(0, "all other server"), None, "it is here itself");
    }

    #[test]
    fn what_a_node_said_before_it_ended_stays_said() {
        let mut job = Job::new();
        job.call(1, "send up n=1");
        job.call(2, "send up n=2");
        job.0.handle_end(1, "has ended its tests");
        job.0.handle_end(2, "has ended its tests");
        assert_eq!(job.ask(0, "all up client"), text("c1:n=1\nc2:n=2\n"));
        assert_eq!(job.ask(0, "wait up"), text("c1:n=1\nc2:n=2\n"));
    }

    #[test]
    fn a_node_that_dies_in_a_sync_has_not_come_to_it() {
        let mut job = Job::new();
        job.call(1, "sync end");
        job.0.handle_end(1, "died");
        assert_eq!(job.ask(0, "sync end"), why("lava-sync end: c1 (client) died"));
    }

    #[test]
    fn waits_end_by_their_own_time() {
        let mut job = Job::new();
        let all = job.call(0, "all up client");
        job.call(1, "send up");
        let sync = job.call(0, "sync end");
        assert_eq!(job.0.poll_timeout(), Some(Instant::from_micros(WAIT_S * 1_000_000)));
        job.0.handle_timeout(Instant::from_micros(WAIT_S * 1_000_000 - 1));
        assert_eq!(job.answers(0), []);
        job.0.handle_timeout(Instant::from_micros(WAIT_S * 1_000_000));
        let said = "lava-wait-all up client: nothing within 60 s from c2".to_owned();
        let sync_said = "lava-sync end: nothing within 60 s from c1, c2".to_owned();
        assert_eq!(job.answers(0), [(all, Err(said)), (sync, Err(sync_said))]);
        assert_eq!(job.0.poll_timeout(), None);
        // Who gave up is not here.
        job.call(1, "sync end");
        assert_eq!(job.ask(2, "sync end"), None);
    }

    #[test]
    fn bounds() {
        let mut job = Job::new();
        let value = "x".repeat(1000);
        assert_eq!(job.ask(0, &format!("send big a={value} b={value}")), text(""));
        let much =
            "lava-send big: with this the boards would have said more than 3072 bytes under one id";
        assert_eq!(job.ask(1, &format!("send big a={value} b={value}")), why(much));
        assert_eq!(job.ask(0, &format!("send big a={value} b={value} c={value}")), text(""));
        for id in 1..IDS_MAX {
            assert_eq!(job.ask(0, &format!("send id{id}")), text(""));
        }
        let many = "lava-send one-more: a job has at most 1024 ids of messages";
        assert_eq!(job.ask(0, "send one-more"), why(many));
        assert_eq!(job.ask(0, "send id1 a=1"), text(""));
        for _ in 0..WAITS_MAX {
            job.call(1, "wait never");
        }
        assert_eq!(job.ask(1, "send x"), why("at most 8 helpers of a board wait at a time"));
        job.0.handle_call(Instant::ZERO, Ticket { node: 3, number: 1 }, What::Sync, "x");
        job.0.handle_end(3, "never was");
    }

    #[test]
    fn a_node_that_starts_anew_waits_for_nothing() {
        let mut job = Job::new();
        job.call(1, "sync end");
        job.call(1, "wait go");
        job.call(1, "send said");
        job.0.handle_restart(1);
        job.call(0, "send go");
        job.call(0, "sync end");
        assert_eq!(job.ask(2, "sync end"), None, "it is not here any more");
        assert_eq!(job.answers(1), []);
        assert_eq!(job.ask(2, "wait said"), text(""));
    }
}
