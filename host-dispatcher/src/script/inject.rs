//! Inject: the agent that runs now, the test plan, the tests and their overlays, into the root file system under test.

use std::cell::{Cell, RefCell};
use std::fs::File;

use agent_core::time::Duration;
use agent_core::wire::response::{Injected, Mounted};
use agent_core::wire::{Method, request};

use super::ask::both;
use super::files::{Outgoing, SHORT_DEADLINE};
use super::{Bench, Fault};
use crate::definition::overlay::OverlayFile;
use crate::job::event::Event;
use crate::job::spec::{Job, Test};
use crate::store::run_dir::RunDir;

/// Where the agent lies in the image under test; the boot arguments name it as `init=`.
pub const AGENT_PATH: &str = "/.pumice/agent";

/// Where overlays lie in the image under test, one folder a suite; `run.sh` goes there from its own.
const OVERLAYS: &str = "/.pumice/overlay";

/// The partition of the root file system under test.
pub const TEST_ROOTFS: &str = "testrootfs";

/// Progress is told about so often: every second of a line at 115200 baud.
const PROGRESS_BYTES: u64 = 10_000;

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
        let mounted = self.mount(label, read_only, false).await;
        let path = mounted.map_err(|fault| {
            fault.during(&format!(
                "the partition {label} cannot be mounted: does it hold a file system?"
            ))
        })?;
        self.while_mounted(label, path, work).await
    }

    /// Mounts a partition and returns where.
    ///
    /// # Errors
    /// The agent's.
    pub async fn mount(
        &self,
        label: &str,
        read_only: bool,
        no_replay: bool,
    ) -> Result<String, Fault> {
        let body = request::Mount { label, fs_type: "", read_only, no_replay };
        let answer = self.ask(Method::MOUNT, &body, MOUNT_DEADLINE).await?;
        Ok(answer.read::<Mounted<'_>>()?.path.to_owned())
    }

    /// Does `work` with where a partition is mounted, and unmounts it whatever came of that.
    ///
    /// # Errors
    /// Those of `work`, else of the unmount.
    pub async fn while_mounted<T, W: Future<Output = Result<T, Fault>>>(
        &self,
        label: &str,
        path: String,
        work: impl FnOnce(String) -> W,
    ) -> Result<T, Fault> {
        let outcome = work(path).await;
        let body = request::Partition { label };
        let unmounted = self.ask(Method::UNMOUNT, &body, MOUNT_DEADLINE).await;
        let outcome = outcome?;
        unmounted?;
        Ok(outcome)
    }

    /// Notes what the tests are made from, and keeps the definitions with the run.
    pub fn note_definitions(&self, tests: &[Test]) {
        for test in tests {
            if let Some(origin) = &test.definition {
                for commit in &origin.commits {
                    let text = format!("{}: the definition's files are {commit}", test.name);
                    self.tell(Event::Note { text });
                }
                let keep = |dir: &mut RunDir| dir.keep_definition(&test.name, &origin.text);
                if !origin.text.is_empty()
                    && let Some(Err(error)) = self.run_dir(keep)
                {
                    self.warn(&error.to_string());
                }
            }
            for note in &test.notes {
                self.tell(Event::Note { text: format!("{}: {note}", test.name) });
            }
        }
    }

    /// Puts agent, plan and tests into the partition. Returns the agent's size.
    ///
    /// # Errors
    /// The agent's.
    pub async fn inject(&self, run: &str, plan: &[u8], job: &Job) -> Result<u64, Fault> {
        let tests = &job.tests;
        self.mounted(TEST_ROOTFS, false, async |root| {
            let body = request::Inject { label: TEST_ROOTFS, path: AGENT_PATH };
            let answer = self.ask(Method::INJECT, &body, MOUNT_DEADLINE).await?;
            let injected: Injected = answer.read()?;
            let directory = format!("{root}{}", run_directory(run));
            self.remove_overlays(&root).await?;
            self.put_secrets(&root, &job.secrets).await?;
            for test in tests {
                let folder = format!("{directory}/tests/{}", test.name);
                self.put_bytes(&format!("{folder}/run.sh"), test.run.as_bytes(), 0o755).await?;
                if let Some(install) = &test.install {
                    let path = format!("{folder}/install.sh");
                    self.put_bytes(&path, install.as_bytes(), 0o755).await?;
                }
            }
            Box::pin(self.put_overlays(&root, tests)).await?;
            // Last: the agent begins only with a whole plan.
            self.put_bytes(&format!("{directory}/plan"), plan, 0o644).await?;
            Ok(injected.bytes)
        })
        .await
    }

    /// What an earlier run left is no part of this one's overlays, and would fill the disk.
    async fn remove_overlays(&self, root: &str) -> Result<(), Fault> {
        self.remove_if_there(&format!("{root}{OVERLAYS}")).await
    }

    /// Removes a folder of the board, which is mostly not there.
    ///
    /// # Errors
    /// The agent's.
    pub(super) async fn remove_if_there(&self, path: &str) -> Result<(), Fault> {
        let body = request::Path { path };
        if self.ask(Method::STAT, &body, SHORT_DEADLINE).await.is_ok() {
            self.ask(Method::REMOVE, &body, MOUNT_DEADLINE).await?;
        }
        Ok(())
    }

    /// Puts the overlays of all tests. A board that syncs each file answers late: several are under way at once.
    async fn put_overlays(&self, root: &str, tests: &[Test]) -> Result<(), Fault> {
        let total_bytes = tests.iter().map(|test| test.overlay.bytes).sum();
        let files = tests
            .iter()
            .flat_map(|test| test.overlay.files.iter().map(move |file| (test.name.as_str(), file)));
        let files = RefCell::new(files);
        let has_failed = Cell::new(false);
        let (done_bytes, told_bytes) = (Cell::new(0), Cell::new(0));
        let progress = |bytes: u64| {
            done_bytes.set(done_bytes.get() + bytes);
            let is_end = done_bytes.get() == total_bytes;
            if is_end || done_bytes.get() - told_bytes.get() >= PROGRESS_BYTES {
                told_bytes.set(done_bytes.get());
                let action = "inject".to_owned();
                let done_bytes = done_bytes.get();
                let total_bytes = Some(total_bytes);
                self.tell(Event::ActionProgress { action, done_bytes, total_bytes });
            }
        };
        let worker = async || {
            while !has_failed.get() {
                let Some((suite, file)) = files.borrow_mut().next() else { break };
                let path = format!("{root}{OVERLAYS}/{suite}/{}", file.path);
                let put = self.put_overlay_file(&path, file, &progress).await;
                if put.is_err() {
                    has_failed.set(true);
                    return put;
                }
            }
            Ok(())
        };
        // As many as keep the line busy, and leave the agent places for others. Boxed: four of them are large.
        let worker = || Box::pin(worker());
        let ((a, b), (c, d)) = both(both(worker(), worker()), both(worker(), worker())).await;
        a.and(b).and(c).and(d)
    }

    async fn put_overlay_file(
        &self,
        path: &str,
        file: &OverlayFile,
        progress: &impl Fn(u64),
    ) -> Result<(), Fault> {
        let failed = |error| Fault::job(format!("{}: {error}", file.source.display()));
        let reader = File::open(&file.source).map_err(failed)?;
        let OverlayFile { mode, size, sha256, .. } = *file;
        let mut sent = 0;
        let outgoing = Outgoing { reader, size, sha256, mode };
        let put = self.put(path, outgoing, |bytes| {
            progress(bytes - sent);
            sent = bytes;
        });
        put.await.map_err(|fault| {
            fault.during(&format!(
                "the overlay's file {} is not on the board",
                file.source.display()
            ))
        })
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
