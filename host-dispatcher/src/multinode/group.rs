//! The boards of one job: they begin their tests together, and what each says goes through one coordinator.

use agent_core::time::Duration;

use super::coordinator::{Coordinator, Node};
use crate::job::verdict::ErrorClass;

/// See the module.
#[derive(Debug)]
pub struct Group {
    /// What the tests say.
    pub coordinator: Coordinator,
    prepared: Vec<bool>,
    names: Vec<String>,
    /// What stopped the first that did not get as far as its tests.
    broken: Option<(ErrorClass, String)>,
    version: u64,
}

impl Group {
    /// Of boards with these names and roles.
    pub fn new(nodes: Vec<(String, String)>, wait_timeout: Duration) -> Self {
        Self {
            prepared: vec![false; nodes.len()],
            names: nodes.iter().map(|(name, role)| format!("{name} ({role})")).collect(),
            coordinator: Coordinator::new(nodes, wait_timeout),
            broken: None,
            version: 0,
        }
    }

    /// A board holds what it needs for its tests.
    pub fn handle_prepared(&mut self, node: Node) {
        self.prepared[node] = true;
        self.version += 1;
    }

    /// A board's tests are over; with what stopped them, if anything did. The first word counts.
    pub fn handle_end(&mut self, node: Node, stopped: Option<(ErrorClass, &str)>) {
        if let Some((class, message)) = stopped
            && self.prepared.get(node) == Some(&false)
        {
            let message = format!("{} is not there: {message}", self.names[node]);
            self.broken.get_or_insert((class, message));
            self.version += 1;
        }
        let why = match stopped {
            Some((_, message)) => format!("failed: {message}"),
            None => "has ended its tests".to_owned(),
        };
        self.coordinator.handle_end(node, &why);
    }

    /// How long a test waits for what another one is to say.
    pub fn set_wait_timeout(&mut self, wait_timeout: Duration) {
        self.coordinator.set_wait_timeout(wait_timeout);
    }

    /// Whether a board had all that it needed when the tests could not begin, because another one was not there.
    pub fn is_innocent(&self, node: Node) -> bool {
        self.broken.is_some() && self.prepared.get(node) == Some(&true)
    }

    /// Whether the tests may begin, once that is known: all boards are prepared, or one will never be, and why.
    pub fn start(&self) -> Option<Result<(), (ErrorClass, String)>> {
        if let Some(broken) = &self.broken {
            return Some(Err(broken.clone()));
        }
        self.prepared.iter().all(|is| *is).then_some(Ok(()))
    }

    /// A number that changes with everything that may let a board go on.
    pub fn version(&self) -> u64 {
        self.version + self.coordinator.version()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let nodes = [("bbb-01", "server"), ("bbb-02", "client")];
        let nodes = nodes.map(|(name, role)| (name.to_owned(), role.to_owned()));
        Group::new(nodes.to_vec(), Duration::from_secs(60))
    }

    #[test]
    fn tests_begin_when_all_are_prepared() {
        let mut group = group();
        group.handle_prepared(0);
        assert_eq!(group.start(), None);
        let before = group.version();
        group.handle_prepared(1);
        assert_eq!(group.start(), Some(Ok(())));
        assert_ne!(group.version(), before);
        group.handle_end(1, Some((ErrorClass::TestError, "the kernel panicked")));
        assert_eq!(group.start(), Some(Ok(())), "that is no reason not to have begun");
    }

    #[test]
    fn nobody_begins_without_a_board_that_cannot() {
        let mut group = group();
        group.handle_prepared(1);
        group.handle_end(0, Some((ErrorClass::JobError, "deploy rootfs: the image does not fit")));
        group.handle_end(0, Some((ErrorClass::Canceled, "canceled by the user")));
        group.handle_end(2, Some((ErrorClass::JobError, "there is no third board")));
        assert_eq!([group.is_innocent(0), group.is_innocent(1)], [false, true]);
        let why = "bbb-01 (server) is not there: deploy rootfs: the image does not fit".to_owned();
        assert_eq!(group.start(), Some(Err((ErrorClass::JobError, why))));
    }
}
