//! Inject: the agent that runs now, the test plan and the tests, into the root file system under test.

use agent_core::time::Duration;
use agent_core::wire::response::{Injected, Mounted};
use agent_core::wire::{Method, request};

use super::files::SHORT_DEADLINE;
use super::{Bench, Fault};
use crate::job::spec::Test;

/// Where the agent lies in the image under test; the boot arguments name it as `init=`.
pub const AGENT_PATH: &str = "/.pumice/agent";

/// The partition of the root file system under test.
pub const TEST_ROOTFS: &str = "testrootfs";

/// A mount may have to replay a journal.
const MOUNT_DEADLINE: Duration = Duration::from_secs(120);

impl Bench {
    /// Mounts a partition, does `work` with where it is, and unmounts it whatever came of that.
    ///
    /// # Errors
    /// Those of `work`, else of the mount or unmount.
    pub async fn mounted<T, W: Future<Output = Result<T, Fault>>>(
        &self,
        label: &str,
        read_only: bool,
        work: impl FnOnce(String) -> W,
    ) -> Result<T, Fault> {
        let body = request::Mount { label, fs_type: "", read_only };
        let answer = self.ask(Method::MOUNT, &body, MOUNT_DEADLINE).await.map_err(|fault| {
            fault.during(&format!(
                "the partition {label} cannot be mounted: does it hold a file system?"
            ))
        })?;
        let path = answer.read::<Mounted<'_>>()?.path.to_owned();
        let outcome = work(path).await;
        let body = request::Partition { label };
        let unmounted = self.ask(Method::UNMOUNT, &body, MOUNT_DEADLINE).await;
        let outcome = outcome?;
        unmounted?;
        Ok(outcome)
    }

    /// Puts agent, plan and tests into the partition. Returns the agent's size.
    ///
    /// # Errors
    /// The agent's.
    pub async fn inject(&self, run: &str, plan: &[u8], tests: &[Test]) -> Result<u64, Fault> {
        self.mounted(TEST_ROOTFS, false, async |root| {
            let body = request::Inject { label: TEST_ROOTFS, path: AGENT_PATH };
            let answer = self.ask(Method::INJECT, &body, MOUNT_DEADLINE).await?;
            let injected: Injected = answer.read()?;
            let directory = format!("{root}{}", run_directory(run));
            for test in tests {
                let path = format!("{directory}/tests/{}/run.sh", test.name);
                self.put_bytes(&path, test.run.as_bytes(), 0o755).await?;
            }
            // Last: the agent begins only with a whole plan.
            self.put_bytes(&format!("{directory}/plan"), plan, 0o644).await?;
            Ok(injected.bytes)
        })
        .await
    }

    /// Asks the agent to take a signal to a command.
    ///
    /// # Errors
    /// The agent's.
    pub async fn signal(&self, request: u32, signal: u8) -> Result<(), Fault> {
        let body = request::Signal { request, signal };
        self.ask(Method::SIGNAL, &body, SHORT_DEADLINE).await.map(drop)
    }
}

/// Where the files of a run lie on the board.
pub fn run_directory(run: &str) -> String {
    format!("/.pumice/runs/{run}")
}
