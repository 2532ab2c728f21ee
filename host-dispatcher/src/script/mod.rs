//! Scripts: what is done with a board, written down as the sequence that it is.
//!
//! The life of a job is a sequence with waits: reach the master agent, deploy, inject, reach the test agent. A script is
//! an `async fn` that awaits what a [`Board`] brings; [`Script`] polls it after every input, on one thread, without a
//! runtime and without a waker, so it runs in virtual time as well as in the real loop. ARCHITECTURE.md says why this
//! is no hand-written state machine. Scripts do not read clocks, sockets or terminals: the loop brings them bytes and
//! the time.

pub mod ask;
pub mod board_logs;
mod boot_loader_tests;
pub mod bootstrap;
pub mod cases;
pub mod collect;
pub mod complete;
pub mod deploy;
pub mod files;
pub mod get;
pub mod hand_over;
pub mod inject;
pub mod job;
pub mod kernel;
pub mod line;
pub mod line_test;
pub mod live;
pub mod nodes;
pub mod observer;
pub mod output;
pub mod persist;
mod placed;
mod power;
pub mod prepare;
pub mod push;
pub mod rescue;
pub mod revive;
mod secrets;
mod sources;
pub mod spans;
pub mod timing;
pub mod tree;
pub mod unpack;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use agent_core::time::{Duration, Instant};
use agent_core::wire::{FailureKind, Method, request};
use jiff::Timestamp;

use crate::board::{Board, BoardEvent, Cause, Goal, Phase, RequestId, Slot};
use crate::job::verdict::ErrorClass;
use crate::redact::Patterns;
use crate::store::run_dir::RunDir;
use observer::Observer;

/// A script in progress.
pub struct Script<'s, T> {
    future: Pin<Box<dyn Future<Output = T> + 's>>,
}

impl<'s, T> Script<'s, T> {
    /// Takes a script; nothing of it happens before [`Self::poll`].
    pub fn new(future: impl Future<Output = T> + 's) -> Self {
        Self { future: Box::pin(future) }
    }

    /// Lets it go on as far as it can. To be called after every input and whenever [`Bench::wake_at`] has come; not
    /// again after it has ended.
    pub fn poll(&mut self, bench: &Bench) -> Option<T> {
        bench.inner.wake_at.set(None);
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }
}

impl<T> fmt::Debug for Script<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

/// Where a script and the loop meet: the board, the time, what came, and who is told.
#[derive(Clone)]
pub struct Bench {
    inner: Rc<Inner>,
}

struct Inner {
    board: RefCell<Board>,
    observer: RefCell<Box<dyn Observer>>,
    now: Cell<Instant>,
    wall: Cell<Timestamp>,
    wake_at: Cell<Option<Instant>>,
    replies: RefCell<HashMap<RequestId, Reply>>,
    /// Requests whose outcome a script still wants; that of others is dropped.
    wanted: RefCell<HashSet<RequestId>>,
    incoming: RefCell<HashMap<u8, Incoming>>,
    trouble: RefCell<Option<Trouble>>,
    kernel: RefCell<Option<kernel::Watching>>,
    bootstrapped: RefCell<Option<String>>,
    sessions: Cell<u64>,
    uart: Cell<line::Uart>,
    told: RefCell<Vec<line::Told>>,
    stdin: RefCell<VecDeque<Vec<u8>>>,
    stdin_ended: Cell<bool>,
    interrupts: Cell<u32>,
    waker: RefCell<Arc<dyn Fn() + Send + Sync>>,
    /// What nobody sees in what is told.
    hidden: RefCell<Arc<Patterns>>,
}

/// What shows that an image is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its kernel panicked.
    Panic {
        /// The line that says so.
        text: String,
    },
    /// The board was restarted, and nobody here had asked for it.
    Rebooted {
        /// What shows it.
        evidence: String,
    },
    /// The board went off, and nobody here had switched it.
    WentOff {
        /// What shows it.
        evidence: String,
    },
    /// Its kernel reported what the job wants to stop for.
    Report {
        /// What, and while which test ran.
        text: String,
    },
}

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this body.
    Answer(Vec<u8>),
    /// With a failure.
    Failed {
        /// The kind.
        kind: FailureKind,
        /// `errno`, or 0.
        os_error: i32,
        /// What it was about.
        text: String,
    },
    /// With the session.
    Lost,
    /// With its deadline.
    Expired,
}

#[derive(Debug, Default)]
struct Incoming {
    pieces: VecDeque<Vec<u8>>,
    is_finished: bool,
    is_reset: bool,
}

/// What stops a script, and who must mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who.
    pub class: ErrorClass,
    /// One line: what was tried, what happened, and what to do about it.
    pub message: String,
}

impl Bench {
    /// A bench for one board.
    pub fn new(board: Board, observer: Box<dyn Observer>, now: Instant, wall: Timestamp) -> Self {
        Self {
            inner: Rc::new(Inner {
                board: RefCell::new(board),
                observer: RefCell::new(observer),
                now: Cell::new(now),
                wall: Cell::new(wall),
                wake_at: Cell::new(None),
                replies: RefCell::default(),
                wanted: RefCell::default(),
                incoming: RefCell::default(),
                trouble: RefCell::default(),
                kernel: RefCell::default(),
                bootstrapped: RefCell::default(),
                sessions: Cell::new(0),
                uart: Cell::default(),
                told: RefCell::default(),
                stdin: RefCell::default(),
                stdin_ended: Cell::new(false),
                interrupts: Cell::new(0),
                waker: RefCell::new(Arc::new(|| {})),
                hidden: RefCell::default(),
            }),
        }
    }

    /// The time is now this. To be called before each input.
    pub fn set_time(&self, now: Instant, wall: Timestamp) {
        self.inner.now.set(now);
        self.inner.wall.set(wall);
    }

    /// What a thread of this bench calls to make the loop turn.
    pub fn set_waker(&self, waker: Arc<dyn Fn() + Send + Sync>) {
        *self.inner.waker.borrow_mut() = waker;
    }

    /// See [`Self::set_waker`].
    pub fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.inner.waker.borrow().clone()
    }

    /// The monotonic time.
    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// The wall clock.
    pub fn wall(&self) -> Timestamp {
        self.inner.wall.get()
    }

    /// The board, for as long as `work` takes.
    pub fn board<R>(&self, work: impl FnOnce(&mut Board, Instant) -> R) -> R {
        work(&mut self.inner.board.borrow_mut(), self.now())
    }

    /// Who is told of everything, for as long as `work` takes.
    pub fn observer<R>(&self, work: impl FnOnce(&mut dyn Observer) -> R) -> R {
        work(self.inner.observer.borrow_mut().as_mut())
    }

    /// Does something with the run directory, where there is one.
    pub fn run_dir<R>(&self, work: impl FnOnce(&mut RunDir) -> R) -> Option<R> {
        let (mut work, mut outcome) = (Some(work), None);
        self.observer(|observer| {
            observer.with_run_dir(&mut |dir| outcome = work.take().map(|work| work(dir)));
        });
        outcome
    }

    /// From here on nobody sees any of this in what is told.
    pub fn hide(&self, hidden: Patterns) {
        let hidden = Arc::new(hidden);
        self.observer(|observer| observer.hide(&hidden));
        *self.inner.hidden.borrow_mut() = hidden;
    }

    /// What nobody sees.
    pub fn hidden(&self) -> Arc<Patterns> {
        Arc::clone(&self.inner.hidden.borrow())
    }

    /// When the script wants to be polled next.
    pub fn wake_at(&self) -> Option<Instant> {
        self.inner.wake_at.get()
    }

    /// Takes what the board has to say; whether there was anything.
    pub fn drain(&self) -> bool {
        let mut any = false;
        while let Some(event) = self.board(|board, _| board.poll_event()) {
            any = true;
            self.route(event);
        }
        any
    }

    /// Something was typed or piped in.
    pub fn push_stdin(&self, bytes: Vec<u8>) {
        self.inner.stdin.borrow_mut().push_back(bytes);
    }

    /// No more will be.
    pub fn end_stdin(&self) {
        self.inner.stdin_ended.set(true);
    }

    /// The next piece that was typed; `Some(None)` at the end.
    pub fn take_stdin(&self) -> Option<Option<Vec<u8>>> {
        match self.inner.stdin.borrow_mut().pop_front() {
            Some(bytes) => Some(Some(bytes)),
            None if self.inner.stdin_ended.get() => Some(None),
            None => None,
        }
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.inner.interrupts.set(self.inner.interrupts.get() + 1);
    }

    /// How often so far.
    pub fn interrupts(&self) -> u32 {
        self.inner.interrupts.get()
    }

    /// The first kernel panic or restart that nobody asked for since [`Self::clear_trouble`], or the kernel report that
    /// is to stop the run.
    pub fn trouble(&self) -> Option<Trouble> {
        let report = || Some(Trouble::Report { text: self.kernel_abort()? });
        self.inner.trouble.borrow().clone().or_else(report)
    }

    /// What happened before does not count any more: the board was started anew.
    pub fn clear_trouble(&self) {
        *self.inner.trouble.borrow_mut() = None;
    }

    /// Sessions opened so far; a change tells of a new one.
    pub fn sessions(&self) -> u64 {
        self.inner.sessions.get()
    }

    /// Waits until `ready` has something. It is asked after every input.
    pub async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|_| ready().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Waits until then.
    pub async fn sleep_until(&self, at: Instant) {
        poll_fn(|_| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            let wake_at = self.inner.wake_at.get().map_or(at, |earlier| earlier.min(at));
            self.inner.wake_at.set(Some(wake_at));
            Poll::Pending
        })
        .await;
    }

    /// Waits so long.
    pub async fn sleep(&self, period: Duration) {
        self.sleep_until(self.now() + period).await;
    }

    /// `work`, unless `period` passes first; `None` then, and `work` is dropped.
    pub async fn within<T>(&self, period: Duration, work: impl Future<Output = T>) -> Option<T> {
        match race(work, self.sleep(period)).await {
            Either::First(outcome) => Some(outcome),
            Either::Second(()) => None,
        }
    }

    /// `work`, unless the user interrupts it.
    ///
    /// # Errors
    /// Those of `work`, or [`ErrorClass::Canceled`].
    pub async fn cancelable<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let before = self.interrupts();
        match race(work, self.until(|| (self.interrupts() > before).then_some(()))).await {
            Either::First(outcome) => outcome,
            Either::Second(()) => {
                self.clean_up_bootstrap().await;
                Err(Fault::canceled())
            }
        }
    }

    /// Switches off a board that ends with this process: its agent syncs first, so that its disk is whole.
    pub async fn shut_down(&self) {
        if self.board(|board, _| board.is_up()) {
            // One that cannot sync any more is switched off all the same.
            let _ = self.ask(Method::SYNC, &request::Sync {}, Duration::from_secs(30)).await;
        }
        let _ = self.within(Duration::from_secs(10), self.reach(Goal::Off)).await;
    }

    /// Brings the board to a goal and waits until it is there; where its agent is to be put there first, with that.
    ///
    /// # Errors
    /// The board is broken, and why.
    pub async fn reach(&self, goal: Goal) -> Result<(), Fault> {
        // In this order: a bootstrap that has led to the session is ended before the goal is reached.
        match race(Box::pin(self.keep_agent_there(goal)), self.reach_by_itself(goal)).await {
            Either::First(fault) => Err(fault),
            Either::Second(outcome) => outcome,
        }
    }

    async fn reach_by_itself(&self, goal: Goal) -> Result<(), Fault> {
        self.board(|board, now| board.set_goal(now, goal));
        self.until(|| {
            let phase = self.board(|board, _| board.phase());
            match (phase, goal) {
                (Phase::Broken(cause), _) => Some(Err(self.broken(cause, goal))),
                // What is asked meanwhile would only wait.
                _ if self.board(|board, _| board.is_changing_baud()) => None,
                (Phase::Off, Goal::Off) | (Phase::BootLoader, Goal::BootLoader) => Some(Ok(())),
                (Phase::Up(is), Goal::Up(wanted)) if is == wanted => Some(Ok(())),
                (Phase::Up(_), Goal::AnyUp) => Some(Ok(())),
                _ => None,
            }
        })
        .await
    }

    fn broken(&self, cause: Cause, goal: Goal) -> Fault {
        let why = self.board(|board, _| {
            board.breakage().map_or(String::new(), |breakage| breakage.text.clone())
        });
        let class = match (cause, goal) {
            // The image under test is what is being tested.
            (
                Cause::Panic
                | Cause::NoKernel
                | Cause::NoAgent
                | Cause::Reset
                | Cause::AgentLost
                | Cause::WentOff
                | Cause::WrongImage
                | Cause::BootLoader,
                Goal::Up(Slot::Test),
            ) => ErrorClass::TestError,
            _ => ErrorClass::InfrastructureError,
        };
        let message = if why.is_empty() { cause.to_string() } else { why };
        Fault { class, message }
    }

    fn route(&self, event: BoardEvent) {
        let mut incoming = self.inner.incoming.borrow_mut();
        match event {
            BoardEvent::Answer { request, body, .. } => self.reply(request, Reply::Answer(body)),
            BoardEvent::Failed { request, kind, os_error, text } => {
                self.reply(request, Reply::Failed { kind, os_error, text });
            }
            BoardEvent::Lost { request } => self.reply(request, Reply::Lost),
            BoardEvent::Expired { request } => self.reply(request, Reply::Expired),
            // Credit bounds what waits here; what nobody asked for is not kept.
            BoardEvent::Data { stream, bytes } => {
                if let Some(stream) = incoming.get_mut(&stream) {
                    stream.pieces.push_back(bytes);
                }
            }
            BoardEvent::Finished { stream } => {
                if let Some(stream) = incoming.get_mut(&stream) {
                    stream.is_finished = true;
                }
            }
            BoardEvent::Reset { stream } => {
                if let Some(stream) = incoming.get_mut(&stream) {
                    stream.is_reset = true;
                }
            }
            other => {
                match &other {
                    BoardEvent::SessionClosed { .. } => {
                        incoming.values_mut().for_each(|stream| stream.is_reset = true);
                    }
                    BoardEvent::SessionOpened { .. } => {
                        self.inner.sessions.set(self.inner.sessions.get() + 1);
                    }
                    BoardEvent::Panic { text } => {
                        let trouble = Trouble::Panic { text: text.clone() };
                        self.inner.trouble.borrow_mut().get_or_insert(trouble);
                    }
                    BoardEvent::Rebooted { evidence } => {
                        let trouble = Trouble::Rebooted { evidence: evidence.clone() };
                        self.inner.trouble.borrow_mut().get_or_insert(trouble);
                    }
                    BoardEvent::Phase { to: Phase::Broken(Cause::WentOff), why, .. } => {
                        let trouble = Trouble::WentOff { evidence: why.clone() };
                        self.inner.trouble.borrow_mut().get_or_insert(trouble);
                    }
                    _ => {}
                }
                self.watch_event(&other);
                let wall = self.wall();
                self.observer(|observer| observer.board_event(wall, &other));
            }
        }
    }

    fn reply(&self, request: RequestId, reply: Reply) {
        if self.inner.wanted.borrow_mut().remove(&request) {
            self.inner.replies.borrow_mut().insert(request, reply);
        }
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("now", &self.inner.now).finish_non_exhaustive()
    }
}

/// Which of two was first.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first.
    First(A),
    /// The second.
    Second(B),
}

/// Both at once, until one has ended; the other is dropped.
pub async fn race<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Either<A, B> {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    poll_fn(move |context| {
        if let Poll::Ready(outcome) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(outcome));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}

impl Fault {
    /// A fault of the lab.
    pub fn infrastructure(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::InfrastructureError, message: message.into() }
    }

    /// A fault of the lab's or the job's configuration.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::ConfigurationError, message: message.into() }
    }

    /// Who wanted it wants it no more.
    pub fn canceled() -> Self {
        Self { class: ErrorClass::Canceled, message: "canceled by the user".to_owned() }
    }

    /// A fault of the job.
    pub fn job(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::JobError, message: message.into() }
    }

    /// The same, with what it is about before it, if the agent did not say that already.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        if self.message.starts_with(what) { self } else { self.during(what) }
    }

    /// The same, with what was being done before it.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic { text } => write!(f, "the kernel panicked: {text}"),
            Self::Rebooted { evidence } => write!(f, "the board was restarted ({evidence})"),
            Self::WentOff { evidence } => write!(f, "the board went off ({evidence})"),
            Self::Report { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
