//! The boards of one job in the lab's loop: what lets one of them go on may be what another did.

use std::cell::RefCell;
use std::rc::Rc;

use agent_core::time::Duration;

use super::fleet::Fleet;
use crate::io::clock;
use crate::lab::RunEnd;
use crate::lab::view::{JobId, JobView};
use crate::multinode::coordinator::Node;
use crate::multinode::group::Group;

/// A group whose jobs are on boards.
pub(super) struct Together {
    attempt: u32,
    group: Rc<RefCell<Group>>,
    /// What its boards have been told of.
    version: u64,
}

/// A job's place in its group.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: Rc<RefCell<Group>>,
    pub(super) node: Node,
    /// The names of the boards, node by node.
    pub(super) boards: Vec<String>,
}

impl Fleet {
    /// The place of a job that begins, in what its attempt's boards have in common; nothing for a job of one board.
    pub(super) fn place_of(&mut self, job: &JobView) -> Option<Place> {
        let (view, node) = (job.group.as_ref()?, node_of(job)?);
        let jobs = view.ids().filter_map(|id| self.lab.job(id));
        let nodes: Vec<(String, String)> = jobs
            .map(|job| {
                let role = job.group.as_ref().map(|view| view.role.clone());
                (job.board.clone().unwrap_or_default(), role.unwrap_or_default())
            })
            .collect();
        let boards = nodes.iter().map(|(board, _)| board.clone()).collect();
        let new = || {
            let group = Rc::new(RefCell::new(Group::new(nodes, WAIT_TIMEOUT)));
            Together { attempt: job.attempt, group, version: 0 }
        };
        let known = self.groups.remove(&view.first);
        let together = known.filter(|known| known.attempt == job.attempt).unwrap_or_else(new);
        let group = together.group.clone();
        self.groups.insert(view.first, together);
        Some(Place { group, node, boards })
    }

    /// Lets the other boards of a station's job go on, if anything has happened that may concern them.
    pub(super) fn wake_group(&mut self, first: JobId) {
        let Some(together) = self.groups.get_mut(&first) else { return };
        let version = together.group.borrow().version();
        if std::mem::replace(&mut together.version, version) == version {
            return;
        }
        let is_of = |station: &super::station::Station| station.group == Some(first);
        let stations = self.stations.iter_mut().filter(|(_, station)| is_of(station));
        let indices: Vec<usize> = stations
            .map(|(index, station)| {
                station.wake();
                *index
            })
            .collect();
        indices.into_iter().for_each(|index| self.note_due(index));
    }

    /// The run of a job has ended, however that came: the other boards of its job are told.
    pub(super) fn end_run(&mut self, id: JobId, mut end: RunEnd) {
        let place =
            self.lab.job(id).and_then(|job| Some((job.group.clone()?.first, node_of(job)?)));
        if let Some((first, node)) = place
            && let Some(together) = self.groups.get(&first)
        {
            let mut group = together.group.borrow_mut();
            let class = end.verdict.error_class();
            group.handle_end(node, class.map(|class| (class, end.error.as_str())));
            end.is_others = group.is_innocent(node);
        }
        self.lab.handle_run_ended(clock::wall(), id, end);
        if let Some((first, _)) = place {
            self.wake_group(first);
        }
    }
}

/// Which of the boards of its group a job is for.
fn node_of(job: &JobView) -> Option<Node> {
    Node::try_from(job.id.checked_sub(job.group.as_ref()?.first)?).ok()
}

/// Until the job's file was read, and nobody waits before.
const WAIT_TIMEOUT: Duration = Duration::from_secs(600);
