//! The coordinator against a model that looks at everything anew each time, in seeded runs.

use std::collections::BTreeSet;

use agent_core::time::{Duration, Instant};
use proptest::prelude::*;

use super::coordinator::{Answer, Coordinator, Ticket, What};

const WAIT_S: u64 = 30;
const IDS: [&str; 3] = ["a", "b", "c"];
const ROLES: [&str; 2] = ["server", "client"];

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Wait(usize, usize),
    WaitAll(usize, usize, Option<usize>),
    Sync(usize, usize),
    End(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, id) = (0..4_usize, 0..IDS.len());
    prop_oneof![
        4 => (node.clone(), id.clone()).prop_map(|(node, id)| Step::Send(node, id)),
        2 => (node.clone(), id.clone()).prop_map(|(node, id)| Step::Wait(node, id)),
        3 => (node.clone(), id.clone(), prop::option::of(0..ROLES.len()))
            .prop_map(|(node, id, role)| Step::WaitAll(node, id, role)),
        3 => (node.clone(), id).prop_map(|(node, id)| Step::Sync(node, id)),
        1 => node.prop_map(Step::End),
        2 => (1..20_u64).prop_map(Step::Pass),
    ]
}

/// Who has said what, who has ended, and who waits for what since when.
#[derive(Default)]
struct Model {
    said: BTreeSet<(usize, usize)>,
    ended: BTreeSet<usize>,
    waits: Vec<(Ticket, Step, u64)>,
}

fn role(node: usize) -> usize {
    usize::from(node > 0)
}

impl Model {
    /// Whether who waits must be answered now, and well; `None`: it waits on.
    fn outcome(&self, ticket: Ticket, wait: &Step) -> Option<bool> {
        let missing: Vec<usize> = match *wait {
            Step::Wait(_, id) if (0..4).any(|node| self.said.contains(&(node, id))) => Vec::new(),
            Step::Wait(..) => {
                let others = (0..4).filter(|node| *node != ticket.node);
                return others.clone().all(|node| self.ended.contains(&node)).then_some(false);
            }
            Step::WaitAll(_, id, of) => (0..4)
                .filter(|node| of.is_none_or(|of| of == role(*node)))
                .filter(|node| !self.said.contains(&(*node, id)))
                .collect(),
            Step::Sync(_, id) => (0..4)
                .filter(|node| {
                    let here = |(ticket, wait, _): &(Ticket, Step, u64)| {
                        ticket.node == *node && matches!(wait, Step::Sync(_, other) if *other == id)
                    };
                    !self.waits.iter().any(here)
                })
                .collect(),
            _ => Vec::new(),
        };
        if missing.is_empty() {
            return Some(true);
        }
        missing.iter().any(|node| self.ended.contains(node)).then_some(false)
    }

    /// Takes out all that must be answered now.
    fn settle(&mut self, now_s: u64) -> Vec<(Ticket, bool)> {
        let outcomes: Vec<_> = self
            .waits
            .iter()
            .map(|(ticket, wait, since)| {
                let is_late = now_s >= since + WAIT_S;
                (*ticket, self.outcome(*ticket, wait).or_else(|| is_late.then_some(false)))
            })
            .collect();
        let over = |ticket: Ticket| outcomes.iter().find(|(other, _)| *other == ticket);
        self.waits.retain(|(ticket, ..)| over(*ticket).is_some_and(|(_, is)| is.is_none()));
        outcomes.into_iter().filter_map(|(ticket, is_good)| Some((ticket, is_good?))).collect()
    }
}

fn answers(coordinator: &mut Coordinator) -> Vec<(Ticket, Answer)> {
    let mut all = Vec::new();
    for node in 0..4 {
        while let Some((number, answer)) = coordinator.poll_answer(node) {
            all.push((Ticket { node, number }, answer));
        }
    }
    all
}

proptest! {
    #[test]
    fn every_call_is_answered_when_the_model_says_so(steps in prop::collection::vec(step(), 1..60)) {
        let nodes = (0..4).map(|node| (format!("n{node}"), ROLES[role(node)].to_owned()));
        let mut coordinator = Coordinator::new(nodes, Duration::from_secs(WAIT_S));
        let (mut model, mut now_s, mut number) = (Model::default(), 0, 0);
        // In the end all end, and nobody waits.
        for step in steps.into_iter().chain((0..4).map(Step::End)) {
            let now = Instant::from_micros(now_s * 1_000_000);
            number += 1;
            let mut expected = Vec::new();
            let (node, what, id) = match step {
                Step::Send(node, id) => {
                    (node, What::Send(vec![("k".to_owned(), number.to_string())]), id)
                }
                Step::Wait(node, id) => (node, What::Wait, id),
                Step::WaitAll(node, id, role) => {
                    (node, What::WaitAll(role.map(|role| ROLES[role].to_owned())), id)
                }
                Step::Sync(node, id) => (node, What::Sync, id),
                Step::End(node) => {
                    coordinator.handle_end(node, "ended");
                    model.ended.insert(node);
                    model.waits.retain(|(ticket, ..)| ticket.node != node);
                    (node, What::Wait, 0)
                }
                Step::Pass(seconds) => {
                    now_s += seconds;
                    coordinator.handle_timeout(Instant::from_micros(now_s * 1_000_000));
                    (0, What::Wait, 0)
                }
            };
            let is_call = !matches!(step, Step::End(_) | Step::Pass(_));
            if is_call && !model.ended.contains(&node) {
                let ticket = Ticket { node, number };
                let waiting = model.waits.iter().filter(|(other, ..)| other.node == node).count();
                coordinator.handle_call(now, ticket, what, IDS[id]);
                match step {
                    _ if waiting >= 8 => expected.push((ticket, false)),
                    Step::Send(..) => {
                        model.said.insert((node, id));
                        expected.push((ticket, true));
                    }
                    step => model.waits.push((ticket, step, now_s)),
                }
            }
            expected.extend(model.settle(now_s));
            let mut came = answers(&mut coordinator);
            came.sort_by_key(|(ticket, _)| ticket.number);
            expected.sort_by_key(|(ticket, _)| ticket.number);
            let told: Vec<_> = came.iter().map(|(ticket, answer)| (*ticket, answer.is_ok())).collect();
            prop_assert_eq!(told, expected);
            for (_, answer) in came {
                // Whoever is told that it will not be, is told by whom.
                if let Err(why) = answer {
                    prop_assert!(why.contains(" n") || why.contains("at most"), "{}", why);
                }
            }
        }
        prop_assert_eq!(coordinator.poll_timeout(), None);
    }
}
