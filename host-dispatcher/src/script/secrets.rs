//! The secrets of a job on its board: a file that tests read, there from inject to the end of the job.

use agent_core::time::Duration;
use agent_core::wire::{Method, request};

use super::inject::TEST_ROOTFS;
use super::{Bench, Fault};
use crate::board::{Phase, Slot};
use crate::job::secret::Secrets;
use crate::job::spec::SECRETS_FILE;

/// A board removes a file and syncs its disk in seconds.
const REMOVE_WAIT: Duration = Duration::from_secs(120);

impl Bench {
    /// Puts the file into the root file system that is mounted at `root`. What an earlier job left there, because its board
    /// could not be asked any more, goes.
    ///
    /// # Errors
    /// The agent's.
    pub(super) async fn put_secrets(&self, root: &str, secrets: &Secrets) -> Result<(), Fault> {
        self.remove_if_there(&format!("{root}{}", folder())).await?;
        if secrets.is_empty() {
            return Ok(());
        }
        self.put_bytes(&format!("{root}{SECRETS_FILE}"), secrets.file().as_bytes(), 0o600).await
    }

    /// Takes it from the board again, whichever image is up. Where none is, that is a warning, and the next job's inject does
    /// it.
    pub(super) async fn remove_secrets(&self) {
        let work = async {
            match self.board(|board, _| board.phase()) {
                Phase::Up(Slot::Test) => {
                    self.remove_if_there(folder()).await?;
                    // The power may go before the disk has it.
                    self.ask(Method::SYNC, &request::Sync {}, REMOVE_WAIT).await.map(drop)
                }
                Phase::Up(Slot::Master) => {
                    self.mounted(TEST_ROOTFS, false, async |root| {
                        self.remove_if_there(&format!("{root}{}", folder())).await
                    })
                    .await
                }
                _ => Err(Fault::infrastructure("no agent is there")),
            }
        };
        let why = match self.within(REMOVE_WAIT, Box::pin(work)).await {
            Some(Ok(())) => return,
            Some(Err(fault)) => fault.message,
            None => "it took too long".to_owned(),
        };
        self.warn(&format!(
            "the secrets of the job are still on the board, in {SECRETS_FILE} of {TEST_ROOTFS} ({why}): the next job removes them"
        ));
    }
}

/// The folder that holds nothing else.
fn folder() -> &'static str {
    SECRETS_FILE.rsplit_once('/').map_or(SECRETS_FILE, |(folder, _)| folder)
}
