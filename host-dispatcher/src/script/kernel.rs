//! The watch over the kernel in a job: feeds it with what comes, and puts what it finds on record.

use std::cell::RefCell;
use std::io::Read;

use agent_core::time::Instant;

use super::live::Live;
use super::{Bench, Either, Fault, race};
use crate::board::{BoardEvent, ConsoleSource, Phase, Slot};
use crate::job::event::{Event, KernelReport};
use crate::job::verdict::ErrorClass;
use crate::kernel::watch::{LogLine, Origin};
use crate::kernel::{Action, Found, Kind, Policy, Watch, pstore};

/// The watch of a job, and what the job wants done.
#[derive(Debug)]
pub(super) struct Watching {
    watch: Watch,
    policy: Policy,
    /// The first report that is to stop the run.
    abort: Option<String>,
}

impl Bench {
    /// From now on the kernel is watched.
    pub fn begin_kernel_watch(&self, policy: Policy) {
        let watching = Watching { watch: Watch::default(), policy, abort: None };
        *self.inner.kernel.borrow_mut() = Some(watching);
    }

    /// Tells what the watch finds on the raw line, and what ends because the kernel is quiet; never ends by itself.
    pub async fn keep_kernel_watch(&self, live: &RefCell<Live>) {
        loop {
            let at = self.with_watch(|watch, _| watch.poll_timeout()).flatten();
            let changed = self.until(|| {
                let is_news =
                    |watch: &mut Watch, _| watch.has_found() || watch.poll_timeout() != at;
                self.with_watch(is_news).unwrap_or(false).then_some(())
            });
            if let Some(at) = at
                && let Either::Second(()) = race(changed, self.sleep_until(at)).await
            {
                self.with_watch(|watch, now| watch.handle_timeout(now));
            } else if at.is_none() {
                self.until(|| {
                    let is_news =
                        |watch: &mut Watch, _| watch.has_found() || watch.poll_timeout().is_some();
                    self.with_watch(is_news).unwrap_or(false).then_some(())
                })
                .await;
            }
            self.tell_kernel_reports(&live.borrow());
        }
    }

    /// A record of the kernel's log came live.
    pub(super) fn watch_log(&self, live: &Live, line: LogLine<'_>) {
        let slot = live.slot();
        self.with_watch(|watch, now| watch.handle_log(now, slot, line));
        self.tell_kernel_reports(live);
    }

    /// A line of the kernel's log came home in its file.
    pub(super) fn watch_log_file(&self, live: &Live, line: LogLine<'_>) {
        let slot = live.slot();
        self.with_watch(|watch, now| watch.handle_file(now, slot, line));
        self.tell_kernel_reports(live);
    }

    /// That file is over.
    pub(super) fn end_log_file(&self, live: &Live) {
        let slot = live.slot();
        self.with_watch(|watch, _| watch.end_file(slot));
        self.tell_kernel_reports(live);
    }

    /// All of the log is home: what the raw line showed beyond it was somebody's print.
    pub(super) fn trust_kernel_log(&self) {
        self.with_watch(|watch, _| watch.handle_print());
    }

    /// The run is over: tells what is left, reads what came home in `pstore/`, and records the fault that nobody was
    /// told of.
    pub(super) fn end_kernel_watch(&self, live: &Live) {
        let texts = self.pstore_texts();
        let dropped = self.with_watch(|watch, now| {
            watch.handle_pstore(&texts);
            watch.finish(now);
            watch.dropped()
        });
        self.tell_kernel_reports(live);
        if let Some(dropped) = dropped.filter(|dropped| *dropped > 0) {
            self.warn(&format!("{dropped} kernel reports more are in the log only"));
        }
        if let Some(text) = self.take_kernel_abort() {
            let message = format!("in the test image: {text}");
            self.record_fault(&Fault { class: ErrorClass::TestError, message });
        }
    }

    /// The report that is to stop the run.
    pub fn kernel_abort(&self) -> Option<String> {
        self.inner.kernel.borrow().as_ref()?.abort.clone()
    }

    /// The same, and it is told.
    pub(super) fn take_kernel_abort(&self) -> Option<String> {
        self.inner.kernel.borrow_mut().as_mut()?.abort.take()
    }

    /// Whether a kernel is telling of its panic.
    pub(super) fn is_in_panic(&self) -> bool {
        self.with_watch(|watch, _| watch.is_in_panic()).unwrap_or(false)
    }

    /// What the board's events mean for the watch.
    pub(super) fn watch_event(&self, event: &BoardEvent) {
        self.with_watch(|watch, now| match event {
            BoardEvent::Console { source: ConsoleSource::Console, bytes } => {
                watch.handle_console(now, bytes);
            }
            BoardEvent::SessionOpened { slot, .. } => {
                watch.set_slot(now, *slot);
                watch.set_followed(true);
            }
            BoardEvent::SessionClosed { .. } => watch.set_followed(false),
            BoardEvent::Panic { .. } => watch.handle_death(),
            BoardEvent::Printed { .. } => watch.handle_print(),
            BoardEvent::Rebooted { .. } => watch.handle_end_of_boot(now),
            BoardEvent::Phase { to, .. } => match to {
                Phase::Booting(slot) | Phase::Up(slot) => watch.set_slot(now, *slot),
                Phase::PoweringOn | Phase::BootLoader | Phase::Off => {
                    watch.handle_end_of_boot(now);
                }
                Phase::Unknown | Phase::Broken(_) => {}
            },
            _ => {}
        });
    }

    fn with_watch<R>(&self, work: impl FnOnce(&mut Watch, Instant) -> R) -> Option<R> {
        let now = self.now();
        self.inner.kernel.borrow_mut().as_mut().map(|watching| work(&mut watching.watch, now))
    }

    /// Puts on record what the watch has found.
    fn tell_kernel_reports(&self, live: &Live) {
        while let Some(Some(found)) = self.with_watch(|watch, _| watch.poll_found()) {
            self.tell_kernel_report(live, found);
        }
    }

    fn tell_kernel_report(&self, live: &Live, found: Found) {
        let Found { report, origin, slot, raw } = found;
        // What the master image does is no result of the test.
        let is_tested = live.has_begun() && slot != Some(Slot::Master);
        let policy = self.inner.kernel.borrow().as_ref().map(|watching| watching.policy);
        let action =
            policy.filter(|_| is_tested).map_or(Action::Record, |it| it.action(report.kind));
        let running = if is_tested { live.running_at(report.board_us) } else { None };
        let (suite, case) = running.map_or((None, None), |(suite, case)| (Some(suite), case));
        if let Some(raw) = raw
            && let Some(Err(error)) = self.run_dir(|dir| dir.append_panic(&raw))
        {
            self.warn(&error.to_string());
        }
        // A panic stops the run by what it does to the board.
        if action == Action::Abort && report.kind != Kind::Panic {
            let text = format!(
                "kernel {}: {}{}",
                report.kind,
                report.title,
                while_running(suite.as_deref())
            );
            if let Some(watching) = self.inner.kernel.borrow_mut().as_mut() {
                watching.abort.get_or_insert(text);
            }
        }
        self.tell(Event::KernelReport(KernelReport {
            kind: report.kind.as_str().to_owned(),
            title: report.title,
            policy: action.as_str().to_owned(),
            suite,
            case,
            source: match origin {
                Origin::Kernel => "kernel",
                Origin::Console => "console",
                Origin::Pstore => "pstore",
            }
            .to_owned(),
            board_time_us: report.board_us,
            text: report.text,
        }));
    }

    /// The texts below `pstore/` of the run directory.
    fn pstore_texts(&self) -> Vec<String> {
        let folder = self.run_dir(|dir| dir.path().join("pstore"));
        let Some(Ok(entries)) = folder.map(std::fs::read_dir) else { return Vec::new() };
        let mut names: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("dmesg-"))
            .map(|entry| entry.path())
            .take(PSTORE_FILES_MAX)
            .collect();
        names.sort();
        let text = |path| {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).ok()?;
            file.take(pstore::BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        names.into_iter().filter_map(text).collect()
    }
}

/// `, while the test uname ran`
pub(super) fn while_running(suite: Option<&str>) -> String {
    suite.map_or_else(String::new, |suite| format!(", while the test {suite} ran"))
}

/// More records than a ramoops area holds.
const PSTORE_FILES_MAX: usize = 64;
