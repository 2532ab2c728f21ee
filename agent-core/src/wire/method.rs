//! The registry of methods. Append-only: an id is never used again for something else, and a body only grows at its
//! tail. A method that a peer does not know is answered with [`FailureKind::UNSUPPORTED`](super::FailureKind), and so is one
//! that is retired: its row stays.

/// What a message asks, answers or tells. Unknown numbers are kept, so that they can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

/// One row of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The method.
    pub method: Method,
    /// Its name in logs and in docs/protocol.md.
    pub name: &'static str,
    /// Whether asking twice does the same as asking once. Others are never repeated across sessions.
    pub idempotent: bool,
}

macro_rules! registry {
    ($($(#[$doc:meta])* $constant:ident = $id:literal, $name:literal, $repeat:ident;)*) => {
        impl Method {
            $($(#[$doc])* pub const $constant: Self = Self($id);)*
        }

        impl Method {
            /// Whether asking twice does the same as asking once; no for a method that this version does not know.
            pub const fn is_idempotent(self) -> bool {
                match self.0 {
                    $($id => registry!(@ $repeat),)*
                    _ => false,
                }
            }
        }

        /// Every method there is, in the order of their ids.
        pub const REGISTRY: &[Row] = &[
            $(Row { method: Method($id), name: $name, idempotent: registry!(@ $repeat) },)*
        ];
    };
    (@ idempotent) => { true };
    (@ once) => { false };
}

registry! {
    /// Who the agent is: [`request::Info`](super::request::Info) → [`response::Info`](super::response::Info).
    INFO = 0x0001, "info", idempotent;
    /// The board's clocks: [`request::Clock`](super::request::Clock) → [`response::Clock`](super::response::Clock).
    CLOCK = 0x0002, "clock", idempotent;
    /// Sends the live log on a stream: [`request::Follow`](super::request::Follow) → [`response::Done`](super::response::Done).
    FOLLOW = 0x0003, "follow", idempotent;
    /// The line as the agent sees it: [`request::Line`](super::request::Line) → [`response::Line`](super::response::Line).
    LINE = 0x0004, "line", idempotent;
    /// Test bytes in both directions: [`request::LineTest`](super::request::LineTest) → [`response::LineTest`](super::response::LineTest).
    LINE_TEST = 0x0005, "line-test", idempotent;
    /// What became of a request of an earlier session: [`request::Outcome`](super::request::Outcome) → [`response::Outcome`](super::response::Outcome).
    OUTCOME = 0x0006, "outcome", idempotent;
    /// Ties the kernel log's clock to the agent's: [`request::ClockMark`](super::request::ClockMark) → [`response::ClockMark`](super::response::ClockMark).
    CLOCK_MARK = 0x0007, "clock-mark", idempotent;
    /// Runs a command: [`request::Exec`](super::request::Exec) → [`response::Exit`](super::response::Exit).
    EXEC = 0x0010, "exec", once;
    /// Signals a running command: [`request::Signal`](super::request::Signal) → `Done`.
    SIGNAL = 0x0011, "signal", once;
    /// Reads a file: [`request::Get`](super::request::Get) → [`response::Got`](super::response::Got).
    GET = 0x0020, "get", idempotent;
    /// Writes a file, whole or not at all: [`request::Put`](super::request::Put) → `Done`.
    PUT = 0x0021, "put", idempotent;
    /// Lists a directory on a stream: [`request::List`](super::request::List) → [`response::Listed`](super::response::Listed).
    LIST = 0x0022, "list", idempotent;
    /// Size and kind of a file: [`request::Path`](super::request::Path) → [`response::Stat`](super::response::Stat).
    STAT = 0x0023, "stat", idempotent;
    /// Removes a file or directory tree: [`request::Path`](super::request::Path) → `Done`.
    REMOVE = 0x0024, "remove", idempotent;
    /// Hashes a piece of a file: [`request::FileHash`](super::request::FileHash) → [`response::Hash`](super::response::Hash).
    FILE_HASH = 0x0025, "file-hash", idempotent;
    /// Reads a file, packed: [`request::Get`](super::request::Get) → [`response::Got`](super::response::Got).
    GET_PACKED = 0x0026, "get-packed", idempotent;
    /// A partition by its label: [`request::Partition`](super::request::Partition) → [`response::Partition`](super::response::Partition).
    PARTITION = 0x0030, "partition", idempotent;
    /// Retired. Wrote an image to a partition: [`request::BlockWrite`](super::request::BlockWrite) → [`response::Written`](super::response::Written).
    BLOCK_WRITE = 0x0031, "block-write", idempotent;
    /// Retired. Read a partition back and hashed it: [`request::BlockHash`](super::request::BlockHash) → [`response::Hash`](super::response::Hash).
    BLOCK_HASH = 0x0032, "block-hash", idempotent;
    /// Hashes of what a partition or file holds: [`request::BlockTree`](super::request::BlockTree) → [`response::BlockTree`](super::response::BlockTree).
    BLOCK_TREE = 0x0033, "block-tree", idempotent;
    /// Carries out a deploy plan: [`request::BlockPlan`](super::request::BlockPlan) → [`response::Written`](super::response::Written).
    BLOCK_PLAN = 0x0034, "block-plan", idempotent;
    /// Mounts a partition: [`request::Mount`](super::request::Mount) → [`response::Mounted`](super::response::Mounted).
    MOUNT = 0x0040, "mount", idempotent;
    /// Syncs and unmounts a partition: [`request::Partition`](super::request::Partition) → `Done`.
    UNMOUNT = 0x0041, "unmount", idempotent;
    /// Copies the running agent into a mounted partition: [`request::Inject`](super::request::Inject) → [`response::Injected`](super::response::Injected).
    INJECT = 0x0042, "inject", idempotent;
    /// Restarts or stops the board: [`request::Reboot`](super::request::Reboot) → `Done`, then silence.
    REBOOT = 0x0050, "reboot", once;
    /// Writes out what the board's kernel holds back: [`request::Sync`](super::request::Sync) → `Done`.
    SYNC = 0x0051, "sync", idempotent;
    /// Changes the line's speed, and back if nothing comes through: [`request::Baud`](super::request::Baud) → `Done`.
    BAUD = 0x0052, "baud", once;
    /// Opens a side lane for bulk: [`request::Lane`](super::request::Lane) → `Done` when it is connected.
    LANE = 0x0053, "lane", once;
    /// How far the test plan is: [`request::TestStatus`](super::request::TestStatus) → [`response::TestStatus`](super::response::TestStatus).
    TEST_STATUS = 0x0060, "test-status", idempotent;
    /// What a test says to the tests on other boards, as soon as it says something: [`request::NodeCall`](super::request::NodeCall) → [`response::NodeCall`](super::response::NodeCall).
    NODE_CALL = 0x0061, "node-call", idempotent;
    /// What the test is answered: [`request::NodeAnswer`](super::request::NodeAnswer) → `Done`.
    NODE_ANSWER = 0x0062, "node-answer", idempotent;
    /// Answer to any request that failed: [`Failure`](super::Failure).
    FAILED = 0xFFFF, "failed", once;
}

impl Method {
    /// Its row in the registry, if this version knows it.
    pub fn row(self) -> Option<&'static Row> {
        REGISTRY.iter().find(|row| row.method == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_ordered() {
        for pair in REGISTRY.windows(2) {
            assert!(pair[0].method.0 < pair[1].method.0, "{pair:?}");
        }
        for (index, row) in REGISTRY.iter().enumerate() {
            assert!(REGISTRY[..index].iter().all(|earlier| earlier.name != row.name), "{row:?}");
            assert_eq!(row.method.is_idempotent(), row.idempotent, "{row:?}");
        }
    }
}
