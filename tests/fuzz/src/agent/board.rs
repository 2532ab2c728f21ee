//! A board that does nothing, and checks that what it is asked makes sense: nothing is read that is not open, no plan and
//! no child gets more input than it may keep, and no effect was lost.

use crate::direct::Speaker;
use agent_core::agent::deploy::{INPUT_MAX, OUT_MAX};
use agent_core::agent::{
    Agent, Call, Effect, Event, Journal, OPS_MAX, Op, Pipe, RunFile, STDIN_WINDOW, Target,
};
use agent_core::time::Instant;
use agent_core::wire::node::NodeCall;
use agent_core::wire::response::{self, Exit, Written};
use agent_core::wire::{Failure, FailureKind, Method};

pub(super) struct Board {
    agent: Box<Agent>,
    slots: [Slot; OPS_MAX],
    pub(super) is_rebooted: bool,
    has_plan: bool,
    /// Signals that were not answered yet, by client.
    told: [u32; 8],
    /// Decides how the next call ends.
    calls: u8,
}

/// What the board keeps for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Opening(Opened),
    Open(Opened),
    /// Bytes wanted at most.
    Reading(Opened, usize),
    Committing(Opened),
    Working(Opened, usize),
    Starting(Child),
    Running(Child),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opened {
    is_writing: bool,
    is_listing: bool,
    /// Of a plan: it gets input, and works on it.
    is_plan: bool,
    input: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Child {
    input: usize,
    has_exited: bool,
    is_ended: [bool; 2],
}

impl Board {
    pub(super) fn new(agent: Agent) -> Self {
        let (agent, slots) = (Box::new(agent), [Slot::Free; OPS_MAX]);
        Self { agent, slots, is_rebooted: false, has_plan: false, told: [0; 8], calls: 0 }
    }

    pub(super) fn start_plan(&mut self, now: Instant, plan: &[u8], journal: &Journal) {
        self.has_plan = true;
        self.agent.start_plan(now, Ok(plan), journal, "/.pumice/runs/r1");
        self.drain(now);
    }

    /// Bytes that no host wrote.
    pub(super) fn hear_forged(&mut self, now: Instant, bytes: &[u8]) {
        self.hear(now, bytes);
    }

    /// A record of the kernel's log, if it is welcome.
    pub(super) fn kernel(&mut self, now: Instant, record: &[u8]) {
        if self.agent.kernel_room() {
            self.event(now, Event::Kernel { record });
        }
    }

    /// A client of the test's socket says this: a signal or a call.
    pub(super) fn tell(&mut self, now: Instant, client: u8, packet: &[u8]) {
        if self.agent.signal_room() {
            let client = client % 8;
            let before = self.told[usize::from(client)];
            self.told[usize::from(client)] += 1;
            self.event(now, Event::Signal { client, packet });
            // A call is answered when the dispatcher says so.
            let is_answered = self.told[usize::from(client)] == before;
            assert!(is_answered || before == 0 && NodeCall::is_one(packet), "each is answered");
        }
    }

    /// Something else goes wrong, and calls from now on end otherwise.
    pub(super) fn disturb(&mut self, now: Instant, what: u8) {
        self.calls = what;
        let op = Op(what % OPS_MAX as u8);
        match what % 5 {
            0 => self.event(
                now,
                Event::UserConsole { offset: u64::from(what), bytes: LONG_TEXT.as_bytes() },
            ),
            1 if self.has_plan => self.event(now, Event::RunFileFailed { os_error: 28 }),
            2 if self.has_plan => self.event(now, Event::WatchdogFailed { os_error: 2 }),
            4 => {
                let client = what % 8;
                self.told[usize::from(client)] = 0;
                self.event(now, Event::ClientGone { client });
            }
            3 => self.event(now, Event::OutputLost { op, bytes: usize::from(what) + 1 }),
            _ => {}
        }
    }

    /// The next that can happen to an operation.
    pub(super) fn report(&mut self, now: Instant, op: u8, what: u8) {
        let op = Op(op % OPS_MAX as u8);
        let slot = &mut self.slots[usize::from(op.0)];
        let has_failed = what % 8 == 7;
        match *slot {
            Slot::Free => {}
            _ if has_failed && !matches!(slot, Slot::Running(_)) => {
                *slot = Slot::Free;
                let failure = Failure { kind: FailureKind::OS, os_error: 5, text: LONG_TEXT };
                self.event(now, Event::Failed { op, failure });
            }
            Slot::Opening(opened) => {
                *slot = Slot::Open(opened);
                let (size, mode) = (u64::from(what) << 16, 0o644);
                self.event(now, Event::Opened { op, size, mode });
            }
            Slot::Open(_) => {}
            Slot::Reading(opened, max) => {
                *slot = Slot::Open(opened);
                let bytes = if opened.is_listing {
                    ENTRY[..ENTRY.len().min(max)].repeat(usize::from(what) % 3)
                } else {
                    vec![what; max.min(usize::from(what) * 256)]
                };
                self.event(now, Event::Bytes { op, bytes: &bytes });
            }
            Slot::Working(mut opened, max) => {
                let taken = opened.input.min(usize::from(what) * 40);
                opened.input -= taken;
                *slot = Slot::Open(opened);
                let bytes = vec![what; if opened.is_plan { 0 } else { max.min(usize::from(what)) }];
                let has_more = if opened.is_plan { opened.input > 0 } else { what & 8 != 0 };
                let written = Written { data_bytes: what.into(), zero_bytes: 0, copied_bytes: 1 };
                self.event(now, Event::Worked { op, taken, bytes: &bytes, has_more, written });
            }
            Slot::Committing(opened) => {
                *slot = Slot::Open(opened);
                self.event(now, Event::Committed { op });
            }
            Slot::Starting(child) => {
                *slot = Slot::Running(child);
                self.event(now, Event::Spawned { op });
            }
            Slot::Running(child) => self.report_child(now, op, child, what),
        }
    }

    fn report_child(&mut self, now: Instant, op: Op, mut child: Child, what: u8) {
        let pipe = if what & 8 == 0 { Pipe::Stdout } else { Pipe::Stderr };
        let is_ended = &mut child.is_ended[usize::from(what >> 3 & 1)];
        let count = usize::from(what >> 4) * 400;
        let bytes = vec![what; count.min(self.agent.output_room(op, pipe))];
        let event = match what % 8 {
            0..4 if !*is_ended && !bytes.is_empty() => Event::Output { op, pipe, bytes: &bytes },
            4 if !*is_ended => {
                *is_ended = true;
                Event::Output { op, pipe, bytes: &[] }
            }
            5 if child.input > 0 => {
                let bytes = child.input.min(1 + count);
                child.input -= bytes;
                Event::InputTaken { op, bytes }
            }
            6 if !child.has_exited => {
                child.has_exited = true;
                let exit = Exit { end: what >> 6, code: what, elapsed_us: 9, ..Exit::default() };
                Event::Exited { op, exit }
            }
            _ => return,
        };
        self.slots[usize::from(op.0)] = Slot::Running(child);
        self.event(now, event);
    }

    fn event(&mut self, now: Instant, event: Event<'_>) {
        self.agent.handle_event(now, event);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        let Self { agent, slots, is_rebooted, has_plan, told, calls } = self;
        for _ in 0..EFFECTS_MAX {
            let Some(effect) = agent.poll_effect(now) else { return };
            let is_speed = matches!(effect, Effect::SetBaud { .. });
            let answer = match effect {
                Effect::Call { request, call } => Some((request, matches!(call, Call::Info))),
                Effect::AnswerSignal { client, .. } | Effect::AnswerCall { client, .. } => {
                    let left = told[usize::from(client)].checked_sub(1);
                    told[usize::from(client)] = left.expect("an answer to nothing");
                    None
                }
                effect => {
                    *is_rebooted |= matches!(effect, Effect::Reboot { .. });
                    check(slots, *has_plan, &effect);
                    None
                }
            };
            if is_speed {
                *calls = calls.wrapping_mul(5).wrapping_add(1);
                let failed = Event::BaudFailed { os_error: 22 };
                agent.handle_event(now, if *calls & 64 == 0 { Event::BaudSet } else { failed });
            }
            if let Some((request, is_info)) = answer {
                *calls = calls.wrapping_mul(5).wrapping_add(1);
                if *calls & 64 != 0 {
                    let failure =
                        Failure { kind: FailureKind::NOT_FOUND, os_error: 2, text: LONG_TEXT };
                    agent.fail(request, &failure);
                } else if is_info {
                    let hash = response::Hash { sha256: &[1; 1500] };
                    agent.answer(Method::INFO, request, &hash);
                } else {
                    // Larger than an answer may be, at times.
                    let path = &LONG_TEXT.repeat(usize::from(*calls >> 5 & 3) * 4);
                    agent.answer(Method::MOUNT, request, &response::Mounted { path });
                }
            }
        }
        panic!("effects without end");
    }
}

/// Whether the effect makes sense to a board in this state, which it changes.
fn check(slots: &mut [Slot; OPS_MAX], has_plan: bool, effect: &Effect<'_>) {
    let name = format_args!("{effect:?}").to_string();
    let of = |op: &Op| usize::from(op.0);
    match effect {
        Effect::Open { op, target } => {
            assert_eq!(slots[of(op)], Slot::Free, "{name}");
            slots[of(op)] = Slot::Opening(Opened {
                is_writing: matches!(target, Target::Put { .. } | Target::Plan(_)),
                is_listing: matches!(target, Target::List { .. }),
                is_plan: matches!(target, Target::Plan(_)),
                input: 0,
            });
        }
        Effect::Read { op, max, .. } => {
            let Slot::Open(opened) = slots[of(op)] else { panic!("{name}: {:?}", slots[of(op)]) };
            assert!(!opened.is_writing, "{name}");
            slots[of(op)] = Slot::Reading(opened, *max);
        }
        Effect::Work { op, max } => {
            let Slot::Open(opened) = slots[of(op)] else { panic!("{name}: {:?}", slots[of(op)]) };
            assert_eq!(opened.is_writing, opened.is_plan, "{name}");
            assert!(opened.is_plan || *max >= OUT_MAX, "{name}: no room");
            slots[of(op)] = Slot::Working(opened, *max);
        }
        Effect::Write { op, bytes } => {
            let opened = writing(&slots[of(op)], &name);
            assert!(!opened.is_plan && !bytes.is_empty(), "{name}");
        }
        Effect::Commit { op } => {
            let opened = writing(&slots[of(op)], &name);
            assert_eq!(opened.input, 0, "{name}");
            slots[of(op)] = Slot::Committing(opened);
        }
        Effect::Close { op } => slots[of(op)] = Slot::Free,
        Effect::Spawn { op, .. } => {
            assert_eq!(slots[of(op)], Slot::Free, "{name}");
            slots[of(op)] = Slot::Starting(Child::default());
        }
        Effect::Input { op, bytes } => {
            if let Slot::Open(opened) | Slot::Working(opened, _) = &mut slots[of(op)] {
                assert!(opened.is_plan, "{name}");
                opened.input += bytes.len();
                assert!(opened.input <= INPUT_MAX, "{name}: more than was granted");
                return;
            }
            let (Slot::Starting(child) | Slot::Running(child)) = &mut slots[of(op)] else {
                panic!("{name}: {:?}", slots[of(op)])
            };
            child.input += bytes.len();
            assert!(child.input <= STDIN_WINDOW, "{name}: more than was granted");
        }
        Effect::EndInput { op } | Effect::Signal { op, .. } => {
            let slot = slots[of(op)];
            assert!(matches!(slot, Slot::Starting(_) | Slot::Running(_)), "{name}: {slot:?}");
        }
        Effect::RunFile { file, bytes } => {
            assert!(has_plan && !bytes.is_empty(), "{name}");
            let is_told =
                *file == RunFile::AgentLog && bytes.windows(16).any(|w| w == b"effects were los");
            assert!(!is_told, "a bound of the agent is too small");
        }
        Effect::SyncRun => assert!(has_plan),
        // Checked where it is answered.
        Effect::AnswerSignal { .. } | Effect::AnswerCall { .. } => {}
        Effect::Call { .. }
        | Effect::SetBaud { .. }
        | Effect::GuardLine(_)
        | Effect::Watchdog { .. }
        | Effect::QuietConsole(_)
        | Effect::SeekKernel { .. }
        | Effect::Reboot { .. } => {}
    }
}

fn writing(slot: &Slot, name: &str) -> Opened {
    match slot {
        Slot::Open(opened) if opened.is_writing => *opened,
        _ => panic!("{name}: not open for writing"),
    }
}

impl Speaker for Board {
    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.agent.handle_line(now, bytes);
        self.drain(now);
    }

    fn say(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let length = self.agent.poll_transmit(now, out);
        // What has gone makes room for more.
        self.drain(now);
        length
    }

    fn due(&self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    fn wake(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.drain(now);
    }
}

/// Effects of one input: far more than any makes, for the bytes of an input are few.
const EFFECTS_MAX: usize = 2_000;

/// Cut in the middle of a letter if it is cut carelessly.
const LONG_TEXT: &str = "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé\
     ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé";

/// One entry of a listing, as the interpreter gives them.
const ENTRY: &[u8] = &[6, 0, 2, b'a', b'b', 0, 5, 7];
