//! The life of a job, from power off to power off.
//!
//! Whatever happens to the image under test, the board comes back to the master image and what the test agent had
//! synced comes home; whatever happens to anything, the record says what and why.

use std::cell::{Cell, RefCell};
use std::future::pending;

use agent_core::time::{Duration, Instant};
use agent_core::wire::response::{Info, TestStatus};
use agent_core::wire::{Method, request};

use super::deploy::{Deployed, Deployer, Place};
use super::files::SHORT_DEADLINE;
use super::inject::TEST_ROOTFS;
use super::kernel::while_running;
use super::live::{Live, RETURN_WAIT};
use super::nodes::Seat;
use super::{Bench, Either, Fault, Trouble, race};
use crate::board::{Goal, Phase, Slot};
use crate::config::board_type::BoardType;
use crate::config::boot_loader::BootFrom;
use crate::image::stored::Wanted;
use crate::image::take::ImageSource;
use crate::job::event::Event;
use crate::job::plan;
use crate::job::spec::{BootWith, Image, Job};
use crate::job::verdict::ErrorClass;

/// Switching off may take so long before it is given up.
const OFF_WAIT: Duration = Duration::from_secs(60);

/// Bringing files home after the job's own time is over may take so long.
const LATE_COLLECT: Duration = Duration::from_secs(300);

/// While tests run, the agent is asked so often how far it is, in case a mark was lost.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// A dying kernel is listened to for so long, ...
const LAST_WORDS: Duration = Duration::from_secs(2);

/// ... and for so long more while it tells of its panic: 64 KiB at 115200 baud take 6 s.
const LAST_WORDS_MAX: Duration = Duration::from_secs(10);

/// An agent without a session shows itself every 2 s, and one that still believes in an old session after its silence.
const FIND_WAIT: Duration = Duration::from_secs(90);

/// Taking the choice of the next image back writes some bytes to a disk.
const UNDO_DEADLINE: Duration = Duration::from_secs(60);

/// The step that looks for a board that runs on by itself.
const FIND: &str = "find the board";

/// The step that waits for the other boards of the job.
const MEET: &str = "wait for the other boards";

/// The steps that bring files home.
const COLLECT: &str = "collect";
const COLLECT_THROUGH_MASTER: &str = "collect through the master agent";

/// What a job needs to know of its run.
#[derive(Debug)]
pub struct JobRun<'j> {
    /// What to do.
    pub job: &'j Job,
    /// The run's name.
    pub run: &'j str,
    /// The board's name.
    pub board: &'j str,
    /// The board's type.
    pub board_type: &'j BoardType,
    /// Where images are kept.
    pub deployer: Deployer,
    /// An image for `testboot`, made from the job's kernel or given by it.
    pub boot_image: Option<Image>,
    /// Where it begins.
    pub begin: Begin,
    /// Its place among the boards of the job, where there are several.
    pub seat: Option<Seat>,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing has been done yet.
    AtMaster,
    /// Another dispatcher booted the test image, and died: the board may run on by itself.
    WhereTheBoardIs,
    /// The same, and the job was canceled: the board is only brought back.
    Canceled,
}

/// Runs a job. Its faults and results go on record; nothing is returned.
pub async fn run(bench: &Bench, job: &JobRun<'_>) {
    let live = RefCell::new(Live::default());
    for (index, test) in (0..).zip(&job.job.tests) {
        if let Some(watch) = &test.watch {
            live.borrow_mut().cases().watch(index, watch.clone());
        }
    }
    bench.hide(job.job.hidden().patterns());
    if job.begin != Begin::AtMaster && !job.job.secrets.is_empty() {
        live.borrow_mut().secrets_are_there();
    }
    let deadline = bench.now() + duration(job.job.timeout);
    if job.begin == Begin::AtMaster && !job.job.metadata.is_empty() {
        bench.tell(Event::Metadata { metadata: job.job.metadata.clone() });
    }
    bench.begin_kernel_watch(job.job.kernel);
    bench.note_definitions(&job.job.tests);
    // Boxed: each race around a future takes its size twice, and a lab has a thousand of these.
    let loader_tests = match job.begin {
        Begin::AtMaster => Cell::new(0),
        Begin::WhereTheBoardIs | Begin::Canceled => Cell::new(job.job.boot_loader_tests.len()),
    };
    let work = job.run_and_collect(bench, &live, &loader_tests);
    let work = race(Box::pin(work), stopped(bench, deadline));
    let fault = match job.begin {
        Begin::Canceled => Some(Fault::canceled()),
        _ => match race(bench.keep_kernel_watch(&live), work).await {
            Either::Second(Either::Second(fault)) => Some(fault),
            _ => None,
        },
    };
    job.end_tests(fault.as_ref());
    if let Some(fault) = fault {
        bench.record_fault(&fault);
        // What ran has left something; nobody waits for it who wants to stop.
        if fault.class == ErrorClass::Timeout && live.borrow().has_begun() {
            let work = Box::pin(job.collect_through_master(bench, &live));
            let work = bench.within(LATE_COLLECT, work);
            if let Ok(Some(Err(fault))) = bench.cancelable(async { Ok(work.await) }).await {
                bench.warn(&fault.message);
            }
        }
    }
    bench.end_kernel_watch(&live.borrow());
    bench.note_line().await;
    let line = bench.line_report();
    if line.verdict.is_bad() {
        bench.warn(&format!("the line: {}", line.verdict));
    }
    bench.close_boot_loader_tests(&job.job.boot_loader_tests, &loader_tests);
    bench.close_tests(&job.job.tests, &live);
    let elided = live.borrow().elided_records();
    if elided > 0 {
        let text = format!(
            "{elided} records of the live log found no room on the line; the files have them"
        );
        bench.tell(Event::Note { text });
    }
    bench.clean_up_bootstrap().await;
    let has_secrets = live.borrow().has_secrets();
    if has_secrets {
        bench.remove_secrets().await;
    }
    // A board without a power switch stays on, and nobody is called for it.
    if bench.board(|board, _| !board.spec().power.kind.is_automatic()) {
        return;
    }
    match bench.within(OFF_WAIT, bench.reach(Goal::Off)).await {
        Some(Ok(())) => {}
        Some(Err(fault)) => {
            bench.warn(&format!("the board was not switched off: {}", fault.message))
        }
        None => bench.warn("the board was not switched off in time"),
    }
}

/// The end that comes from outside.
async fn stopped(bench: &Bench, deadline: Instant) -> Fault {
    let interrupts = bench.interrupts();
    let interrupted = bench.until(|| (bench.interrupts() > interrupts).then_some(()));
    match race(interrupted, bench.sleep_until(deadline)).await {
        Either::First(()) => Fault::canceled(),
        Either::Second(()) => {
            Fault { class: ErrorClass::Timeout, message: "the job's time is over".to_owned() }
        }
    }
}

impl JobRun<'_> {
    /// `loader_tests` counts the tests of the boot loader that have ended.
    async fn run_and_collect(
        &self,
        bench: &Bench,
        live: &RefCell<Live>,
        loader_tests: &Cell<usize>,
    ) {
        let prepared = match self.begin {
            Begin::AtMaster => match self.prepare(bench, live).await {
                Ok(()) => {
                    let tests = &self.job.boot_loader_tests;
                    Box::pin(bench.test_boot_loader(tests, loader_tests)).await
                }
                Err(fault) => Err(fault),
            },
            Begin::WhereTheBoardIs | Begin::Canceled => {
                live.borrow_mut().begin_tests();
                let found = bench.action(FIND, self.find(bench)).await;
                let Err(fault) = &found else { return self.test_and_collect(bench, live).await };
                bench.record_fault(fault);
                if let Err(fault) = self.collect_through_master(bench, live).await {
                    bench.warn(&fault.message);
                }
                return;
            }
        };
        bench.tell_clock(live, Slot::Master);
        if let Err(fault) = prepared {
            self.end_tests(Some(&fault));
            return bench.record_fault(&fault);
        }
        if self.job.tests.is_empty() {
            return;
        }
        self.test_and_collect(bench, live).await;
    }

    /// The test image runs its tests, and everything comes home.
    async fn test_and_collect(&self, bench: &Bench, live: &RefCell<Live>) {
        let tested = bench.action("test", self.test(bench, live)).await;
        bench.tell_clock(live, Slot::Test);
        self.end_tests(tested.as_ref().err());
        match tested {
            Ok(()) => {
                let collected = bench.action(COLLECT, self.collect_from_test(bench, live)).await;
                let Err(fault) = collected else { return bench.trust_kernel_log() };
                bench.warn(&format!("the test agent did not send its files: {}", fault.message));
                if let Err(fault) = self.collect_through_master(bench, live).await {
                    bench.record_fault(&fault);
                }
            }
            Err(fault) => {
                bench.record_fault(&fault);
                // What killed the image may have killed its files; that is no other fault.
                if let Err(fault) = self.collect_through_master(bench, live).await {
                    bench.warn(&fault.message);
                }
            }
        }
    }

    /// Looks for the test agent of this run, without touching the board.
    async fn find(&self, bench: &Bench) -> Result<(), Fault> {
        let lost = |why: String| {
            Fault::infrastructure(format!("the dispatcher died while the tests ran, and {why}"))
        };
        if self.seat.is_some() {
            return Err(lost("what its boards had said to each other is gone with it".to_owned()));
        }
        if bench.board(|board, _| board.spec().power.kind.ends_with_us()) {
            return Err(lost("the emulated board with it".to_owned()));
        }
        match bench.within(FIND_WAIT, bench.reach(Goal::AnyUp)).await {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Err(lost(fault.message)),
            None => return Err(lost("no agent answers".to_owned())),
        }
        let answer =
            bench.ask(Method::TEST_STATUS, &request::TestStatus {}, SHORT_DEADLINE).await?;
        let status: TestStatus<'_> = answer.read()?;
        let is_test = bench.board(|board, _| board.phase()) == Phase::Up(Slot::Test);
        if !is_test || status.run != self.run {
            return Err(lost("the board is in another image by now".to_owned()));
        }
        Ok(())
    }

    /// Everything up to the reboot into the image under test.
    async fn prepare(&self, bench: &Bench, live: &RefCell<Live>) -> Result<(), Fault> {
        bench.action("boot master", self.boot(bench, Slot::Master, live)).await?;
        bench.hand_over_to_lab_agent(&self.deployer).await?;
        let kernel_from = live.borrow().next_kernel();
        let follow = bench.follow(kernel_from).await?;
        let work = async {
            in_time(bench, self.job.deadlines.deploy, "deploy", self.deploy(bench)).await?;
            if !self.job.tests.is_empty() {
                let plan = plan::encode(self.run, self.job.watchdog, &self.job.tests)
                    .map_err(Fault::job)?;
                if !self.job.secrets.is_empty() {
                    live.borrow_mut().secrets_are_there();
                }
                bench.action("inject", bench.inject(self.run, &plan, self.job)).await?;
            }
            // Its counters go with it.
            bench.note_line().await;
            bench.trust_kernel_log();
            match &self.seat {
                Some(seat) => bench.action(MEET, seat.meet(bench)).await,
                None => Ok(()),
            }
        };
        let tests = &self.job.tests;
        let take = race(bench.take_live(&follow, live, tests), bench.keep_time(live));
        match race(work, take).await {
            Either::First(outcome) => outcome,
            Either::Second(_) => {
                Err(Fault::infrastructure("the session with the master agent ended"))
            }
        }
    }

    /// Each partition becomes its image.
    async fn deploy(&self, bench: &Bench) -> Result<(), Fault> {
        let mut done: Vec<Deployed> = Vec::new();
        for (name, label, image) in self.images() {
            let action = format!("deploy {name}");
            let wanted = match image.sha256 {
                Some(sha256) => Wanted::Stored(sha256),
                None => Wanted::Source(Box::new(ImageSource::of_path(&image.path, label))),
            };
            let work = bench.deploy(&self.deployer, &action, Place::partition(label), &wanted);
            let deployed = bench.action(&action, work).await?;
            bench.tell(Event::Note { text: format!("{action}: {deployed}") });
            done.push(deployed);
            bench.keep_deployed(&done);
        }
        Ok(())
    }

    fn images(&self) -> Vec<(&'static str, &'static str, &Image)> {
        let rootfs = self.job.deploy.as_ref().and_then(|deploy| deploy.rootfs.as_ref());
        let rootfs = rootfs.map(|image| ("rootfs", TEST_ROOTFS, image));
        let boot = self.boot_image.as_ref().map(|image| ("boot", "testboot", image));
        rootfs.into_iter().chain(boot).collect()
    }

    /// Brings the board into an image and compares the clocks for the first time.
    async fn boot(&self, bench: &Bench, slot: Slot, live: &RefCell<Live>) -> Result<(), Fault> {
        if slot == Slot::Test {
            let from = match (self.job.boot_with, &self.boot_image) {
                (BootWith::Master, _) => BootFrom::Master,
                (BootWith::Image, Some(_)) => BootFrom::TestBoot,
                (BootWith::Image, None) => BootFrom::TestRootfs,
            };
            let script = self.board_type.boot_script(slot, from, self.board, self.run);
            let script = script.map_err(|error| Fault::configuration(error.to_string()))?;
            bench.board(|board, _| board.set_boot_script(slot, script));
            if let Some(next_slot) = &self.board_type.next_slot {
                let command = next_slot.command(slot, from, self.board, self.run);
                let command = command.map_err(|error| Fault::configuration(error.to_string()))?;
                bench.board(|board, _| board.set_next_slot(slot, command));
            }
            live.borrow_mut().begin_tests();
        }
        live.borrow_mut().end_boot();
        bench.reach(Goal::Up(slot)).await?;
        bench.clear_trouble();
        if slot == Slot::Test {
            self.take_choice_back(bench).await;
        }
        let clock = bench.clock().await?;
        live.borrow_mut().begin_boot(bench.boot_id(), clock);
        if slot == Slot::Master {
            self.keep_board(bench).await?;
        }
        Ok(())
    }

    /// The test image is up: from here on the board boots its master image by itself, so that a power cycle leads there whatever
    /// becomes of the test image. Not where a test restarts the board and must find its image again.
    async fn take_choice_back(&self, bench: &Bench) {
        let Some(next_slot) = &self.board_type.next_slot else { return };
        let Ok(Some(undo)) = next_slot.undo_command(self.board, self.run) else { return };
        if self.job.tests.iter().any(|test| test.expects_reboot) {
            return;
        }
        let failure = match bench.run_command(&["sh", "-c", &undo], UNDO_DEADLINE).await {
            Ok(outcome) if outcome.is_good() => return,
            Ok(outcome) => outcome.output.trim().to_owned(),
            Err(fault) => fault.message,
        };
        bench.warn(&format!(
            "next_slot: undo failed in the test image, which a power cycle boots again: {failure}"
        ));
    }

    async fn keep_board(&self, bench: &Bench) -> Result<(), Fault> {
        let answer = bench.ask(Method::INFO, &request::Info {}, SHORT_DEADLINE).await?;
        let info: Info<'_> = answer.read()?;
        let board = crate::command::info::describe(self.board, &self.board_type.name, &info);
        if let Some(Err(error)) = bench.run_dir(|dir| dir.keep_board(&board)) {
            bench.warn(&error.to_string());
        }
        Ok(())
    }

    /// The test agent runs the plan; this watches.
    async fn test(&self, bench: &Bench, live: &RefCell<Live>) -> Result<(), Fault> {
        let boot = self.boot(bench, Slot::Test, live);
        in_time(bench, self.job.deadlines.boot, "boot", boot).await?;
        loop {
            let watched = race(self.watch(bench, live), self.trouble(bench, live)).await;
            let is_restarting = self.is_restarting(bench, live);
            match watched {
                Either::First(Ok(())) => return Ok(()),
                Either::First(Err(_)) if is_restarting => {}
                // Only what the end of the session did is no fault of its own.
                Either::First(Err(fault)) if bench.board(|board, _| board.is_up()) => {
                    return Err(fault);
                }
                // The image died, and the session with it: it is not to be started again.
                Either::First(Err(_)) if bench.trouble().is_some() => {
                    return Err(self.trouble(bench, live).await);
                }
                Either::First(Err(_)) => {}
                Either::Second(fault) => return Err(fault),
            }
            // The session is gone. The test runs on by itself, or has restarted the board: wait for the agent.
            let back = race(bench.reach(Goal::Up(Slot::Test)), self.trouble(bench, live));
            match race(back, self.silence(bench, live)).await {
                Either::First(Either::First(Ok(()))) => self.greet(bench, live).await?,
                Either::First(Either::First(Err(fault)) | Either::Second(fault)) => {
                    return Err(fault);
                }
                Either::Second(fault) => return Err(fault),
            }
        }
    }

    /// The other boards of the job need not wait for this one's tests any more.
    fn end_tests(&self, fault: Option<&Fault>) {
        if let Some(seat) = &self.seat {
            seat.end(fault);
        }
    }

    /// Whether the board restarts as the running test was to make it.
    fn is_restarting(&self, bench: &Bench, live: &RefCell<Live>) -> bool {
        let running = live.borrow().running_test();
        let test = running.and_then(|test| self.job.tests.get(usize::from(test)));
        test.is_some_and(|test| test.expects_reboot)
            && matches!(bench.trouble(), None | Some(Trouble::Rebooted { .. }))
    }

    /// An agent of the test image has a session again: in the same boot, or in the one that a test began.
    async fn greet(&self, bench: &Bench, live: &RefCell<Live>) -> Result<(), Fault> {
        let boot_id = bench.boot_id();
        if live.borrow().boot_id() == Some(boot_id) {
            // If not now, then later: the clock of this boot is known.
            let _ = bench.compare_again(live).await;
            return Ok(());
        }
        if !self.is_restarting(bench, live) {
            let running = live.borrow().running_at(None).map(|(suite, _)| suite);
            let message = format!(
                "in the test image: the board was restarted{}",
                while_running(running.as_deref())
            );
            return Err(Fault { class: ErrorClass::TestError, message });
        }
        bench.tell_clock(live, Slot::Test);
        live.borrow_mut().end_boot();
        let clock = bench.clock().await?;
        live.borrow_mut().begin_boot(boot_id, clock);
        bench.clear_trouble();
        let text = "the board was restarted by the test, as it was meant to be".to_owned();
        bench.tell(Event::Note { text });
        Ok(())
    }

    /// The agent does not come back. A board that restarts has the deadlines of its phases instead.
    async fn silence(&self, bench: &Bench, live: &RefCell<Live>) -> Fault {
        bench.sleep(RETURN_WAIT).await;
        if self.is_restarting(bench, live) {
            return pending().await;
        }
        // An image cannot be blamed for a line that is away.
        let problem = bench.board(|board, _| board.line_problem());
        if let Some(why) = problem {
            return Fault::infrastructure(format!(
                "the line was lost in the test and is away: {why}"
            ));
        }
        let message = "the test agent fell silent and did not come back".to_owned();
        Fault { class: ErrorClass::TestError, message }
    }

    /// Follows one session of the test agent until its plan has ended.
    async fn watch(&self, bench: &Bench, live: &RefCell<Live>) -> Result<(), Fault> {
        let kernel_from = live.borrow().next_kernel();
        let follow = bench.follow(kernel_from).await?;
        let tests = &self.job.tests;
        let served = async {
            match &self.seat {
                Some(seat) => seat.serve(bench).await,
                None => pending().await,
            }
        };
        let beside = race(bench.keep_time(live), Box::pin(served));
        let take = race(bench.take_live(&follow, live, tests), beside);
        let over = async {
            loop {
                let ended = bench.until(|| live.borrow().is_over().then_some(()));
                if bench.within(STATUS_EVERY, ended).await.is_some() {
                    return Ok(());
                }
                let answer =
                    bench.ask(Method::TEST_STATUS, &request::TestStatus {}, SHORT_DEADLINE).await?;
                let status: TestStatus<'_> = answer.read()?;
                match status.state {
                    TestStatus::ENDED if status.problem.is_empty() => return Ok(()),
                    TestStatus::ENDED => {
                        let message = format!("the test plan stopped: {}", status.problem);
                        return Err(Fault { class: ErrorClass::TestError, message });
                    }
                    TestStatus::RUNNING => {}
                    _ => {
                        let problem =
                            if status.problem.is_empty() { "it has none" } else { status.problem };
                        let message = format!("the test agent cannot run its plan: {problem}");
                        return Err(Fault { class: ErrorClass::TestError, message });
                    }
                }
            }
        };
        match race(over, take).await {
            Either::First(Ok(())) => {
                // So that what comes home with the files lies between two comparisons. The tests are over all the same.
                let _ = bench.compare_again(live).await;
                Ok(())
            }
            Either::First(outcome) => outcome,
            Either::Second(_) => {
                Err(Fault::infrastructure("the session with the test agent ended"))
            }
        }
    }

    /// What shows that the image under test is dead, or that a test wants the job to stop.
    async fn trouble(&self, bench: &Bench, live: &RefCell<Live>) -> Fault {
        let text = bench.until(|| {
            if let Some(raised) = live.borrow_mut().cases().raised() {
                return Some(raised.to_owned());
            }
            let trouble = bench.trouble().filter(|_| !self.is_restarting(bench, live))?;
            let running = match trouble {
                // It says so itself.
                Trouble::Report { .. } => None,
                _ => live.borrow().running_at(None).map(|(suite, _)| suite),
            };
            Some(format!("in the test image: {trouble}{}", while_running(running.as_deref())))
        });
        let message = text.await;
        bench.take_kernel_abort();
        // What the kernel still has to say belongs to the record.
        bench.sleep(LAST_WORDS).await;
        let told = bench.until(|| (!bench.is_in_panic()).then_some(()));
        let _ = bench.within(LAST_WORDS_MAX, told).await;
        Fault { class: ErrorClass::TestError, message }
    }

    async fn collect_from_test(&self, bench: &Bench, live: &RefCell<Live>) -> Result<(), Fault> {
        let work = bench.collect(COLLECT, "", self.run, &self.job.tests, live);
        match race(work, self.trouble(bench, live)).await {
            Either::First(outcome) => outcome,
            Either::Second(fault) => Err(fault),
        }
    }

    /// The test agent is gone: the master agent brings home what it had synced.
    async fn collect_through_master(
        &self,
        bench: &Bench,
        live: &RefCell<Live>,
    ) -> Result<(), Fault> {
        let work = async {
            // The clock of the test image's boot still holds for what comes home from it.
            bench.reach(Goal::Up(Slot::Master)).await?;
            bench.rescue_pstore().await;
            bench
                .mounted_for_rescue(TEST_ROOTFS, async |root| {
                    let (run, tests) = (self.run, &self.job.tests);
                    bench.collect(COLLECT_THROUGH_MASTER, &root, run, tests, live).await
                })
                .await
        };
        bench
            .action(COLLECT_THROUGH_MASTER, work)
            .await
            .map_err(|fault| fault.during("the results of the test image did not come home"))
    }
}

/// `work`, for as long as the job's deadline `key` allows, if it has one.
async fn in_time(
    bench: &Bench,
    limit: Option<std::time::Duration>,
    key: &str,
    work: impl Future<Output = Result<(), Fault>>,
) -> Result<(), Fault> {
    let Some(limit) = limit else { return work.await };
    match bench.within(duration(limit), Box::pin(work)).await {
        Some(outcome) => outcome,
        None => Err(Fault {
            class: ErrorClass::Timeout,
            message: format!("it took longer than deadlines.{key}, {} s", limit.as_secs()),
        }),
    }
}

/// The configuration's periods as the core's.
pub fn duration(period: std::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(period.as_micros()).unwrap_or(u64::MAX))
}
