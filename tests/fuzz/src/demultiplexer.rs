//! Any bytes, cut anywhere, into one end of a line: text comes out as text, a frame among it is read, and in the end
//! the two ends find each other again.
//!
//! ```text
//! 0  mode   u8      bits 0-1: host text-safe, host binary, board, board binary
//!                   bits 2-3: before, in, behind a session that was given up, behind one that fell silent
//!                   bit 4: the other end starts anew at the end
//! 1  cuts   u8      seed of where the bytes are cut
//! 2  place  u16 LE  where a frame stands in the bytes
//! 4  text   u8      so many of the bytes there stand inside of the frame
//! 5         pieces: bytes, frames and beacons of others; see [`forge::piece`]
//! ```

use crate::direct::{Owner, Speaker, Told, talk};
use crate::forge;
use agent_core::link::coding::{CLOSE, OPEN, ZERO};
use agent_core::link::frame::{CONTENT_MAX, Frame, Kind};
use agent_core::link::{Beacon, CloseReason, Coding, LINE_MAX, LineConfig, Link, Priority, coding};
use agent_core::time::{Duration, Instant};
use arbitrary::Unstructured;
use serial_sim::Rng;

pub(crate) fn run(input: &[u8]) {
    let Some(([mode, cuts, p0, p1, text], pieces)) = input.split_first_chunk::<5>() else { return };
    let setting = Setting::new(*mode);
    let mut world = World::new(setting);
    let mut bytes = Vec::new();
    let mut pieces = Unstructured::new(pieces);
    while bytes.len() < 2048 && !pieces.is_empty() {
        let Ok(piece) = forge::piece(&mut pieces, world.host.tag()) else { break };
        bytes.extend(piece);
    }
    let place = usize::from(u16::from_le_bytes([*p0, *p1])) % (bytes.len() + 1);
    let (before, behind) = bytes.split_at(place);
    let (inside, after) = behind.split_at(behind.len().min(usize::from(*text)));
    // Text that others write has no bytes of frames.
    let inside: Vec<u8> = inside
        .iter()
        .map(|byte| byte & 0x7F)
        .filter(|byte| ![OPEN, CLOSE, ZERO].contains(byte))
        .collect();
    let line = [before, &interleaved(&setting.frame(), &inside), after].concat();
    let now = world.now;
    if setting.is_host {
        check(setting, &line, *cuts, || World::new(setting).into_host());
        feed(&mut world.host, now, &line, *cuts);
    } else {
        check(setting, &line, *cuts, || World::new(setting).into_board());
        feed(&mut world.board, now, &line, *cuts);
    }
    world.assert_recovers();
}

/// Feeds the line in one piece and in many, and looks at what comes out.
fn check<const WINDOW: usize>(
    setting: Setting,
    line: &[u8],
    cuts: u8,
    make: impl Fn() -> (Instant, Owner<WINDOW, 16>),
) {
    let (now, mut whole) = make();
    let (is_open, frames) = (whole.link.is_open(), whole.link.stats().frames_in);
    let (console, told) = (whole.console.len(), whole.told.len());
    whole.hear(now, line);
    let (now, mut cut) = make();
    feed(&mut cut, now, line, cuts);
    // A session whose peer breaks the protocol is over when the owner looks for events, behind the piece: what of that
    // piece still counts as the session's depends on the cuts, and so does how much credit there was for it.
    let is_broken = |told: &[Told]| told.contains(&Told::Closed(CloseReason::Protocol));
    if !is_broken(&whole.told) && !is_broken(&cut.told) {
        assert_eq!(whole.console, cut.console, "console text depends on the cuts");
        // Of more than these in one piece the link keeps the last.
        let last = |told: &[Told]| told[told.len().saturating_sub(EVENTS_MAX)..].to_vec();
        assert_eq!(last(&whole.told), last(&cut.told), "events depend on the cuts");
        assert_eq!(whole.received, cut.received, "streams depend on the cuts");
        assert_eq!(whole.link.stats(), cut.link.stats(), "counters depend on the cuts");
    }

    let (console, told) = (&whole.console[console..], &whole.told[told..]);
    assert!(is_subsequence(console, line), "console text that was not on the line");
    let is_beaconed = told.contains(&Told::Beacon);
    // Without a zero no binary frame begins.
    let is_plain = setting.phase == 0 && !line.contains(&ZERO);
    if (setting.is_text_safe_host() || is_plain) && !is_beaconed {
        assert_eq!(console, text_of(line), "console text");
    }
    // In a session a binary frame may carry what looks like another.
    let is_certain = setting.is_text_safe_host() || !is_open;
    if is_certain && !is_beaconed && !told.contains(&Told::Opened) {
        assert!(whole.link.stats().frames_in > frames, "a whole frame was not read");
    }
}

/// Events that wait for an owner who has not looked yet (`link/mod.rs`).
const EVENTS_MAX: usize = 8;

fn feed<const WINDOW: usize>(end: &mut Owner<WINDOW, 16>, now: Instant, line: &[u8], cuts: u8) {
    let mut rng = Rng::new(u64::from(cuts));
    let mut rest = line;
    while !rest.is_empty() {
        let (piece, behind) =
            rest.split_at(rest.len().min(rng.between(1, 1 + u64::from(cuts)) as usize));
        end.hear(now, piece);
        rest = behind;
    }
}

/// What docs/protocol.md, "Demultiplexer", says of a text-safe line, as short as it can be said.
fn text_of(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut symbols = None;
    for byte in line {
        symbols = match (*byte, symbols) {
            (OPEN, _) => Some(0),
            (CLOSE, Some(_)) => None,
            // One byte more than any content has: it is no frame, and over.
            (0x80.., Some(count)) => Some(count + 1).filter(|count| count * 7 / 8 <= CONTENT_MAX),
            (other, open) => {
                text.push(other);
                open
            }
        };
    }
    text
}

/// `text` cuts into a frame byte by byte.
fn interleaved(frame: &[u8], text: &[u8]) -> Vec<u8> {
    let (last, body) = frame.split_last().expect("a frame has marks");
    let mut line = Vec::new();
    let mut text = text.iter();
    for byte in body {
        line.push(*byte);
        line.extend(text.next());
    }
    line.extend(text);
    line.push(*last);
    line
}

fn is_subsequence(part: &[u8], of: &[u8]) -> bool {
    let mut of = of.iter();
    part.iter().all(|byte| of.any(|other| other == byte))
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    is_host: bool,
    /// The board's.
    coding: Coding,
    phase: u8,
    is_other_new: bool,
}

impl Setting {
    fn new(mode: u8) -> Self {
        Self {
            is_host: mode & 2 == 0,
            coding: if mode & 1 == 0 { Coding::TextSafe } else { Coding::Binary },
            phase: mode >> 2 & 3,
            is_other_new: mode & 16 != 0,
        }
    }

    fn is_text_safe_host(self) -> bool {
        self.is_host && self.coding == Coding::TextSafe
    }

    fn line(self) -> LineConfig {
        LineConfig { coding: self.coding, baud: 115_200 }
    }

    /// A whole text-safe frame for this end, of a session that it does not know.
    fn frame(self) -> Vec<u8> {
        let frame = Frame {
            kind: Kind::Ack,
            from_board: self.is_host,
            tag: 0,
            ack: 7,
            sack: Some(0x0102_0304),
            seq: 0,
            body: &[],
        };
        let mut content = [0; CONTENT_MAX];
        let length = frame.emit(&mut content);
        let mut out = [0; LINE_MAX];
        let used = coding::encode(Coding::TextSafe, &content[..length], &mut out);
        out[..used].to_vec()
    }
}

struct World {
    setting: Setting,
    now: Instant,
    host: Owner<32, 16>,
    board: Owner<16, 16>,
}

impl World {
    /// Two ends that have come as far as the setting says.
    fn new(setting: Setting) -> Self {
        let mut world = Self {
            setting,
            now: Instant::ZERO,
            host: Owner::new(Link::host(setting.line(), 5)),
            board: new_board(setting, Instant::ZERO, 1),
        };
        if setting.phase > 0 {
            let Self { now, host, board, .. } = &mut world;
            let is_open = talk(now, host, board, Duration::from_millis(100), |host, board| {
                host.link.is_open() && board.link.is_open()
            });
            assert!(is_open, "no session on a clean line");
            for id in 1..4 {
                host.link.open(id, Priority::Bulk);
                board.link.open(id, Priority::Bulk);
            }
        }
        if setting.phase > 1 && setting.is_host {
            if setting.phase == 2 {
                world.host.link.mute(world.now);
            } else {
                world.now = world.now + Duration::from_secs(7);
                world.host.wake(world.now);
            }
        } else if setting.phase > 1 {
            if setting.phase == 2 {
                world.board.link.abandon(world.now);
            } else {
                world.now = world.now + Duration::from_secs(7);
                world.board.wake(world.now);
            }
        }
        world.host.drain();
        world.board.drain();
        world
    }

    fn into_host(self) -> (Instant, Owner<32, 16>) {
        (self.now, self.host)
    }

    fn into_board(self) -> (Instant, Owner<16, 16>) {
        (self.now, self.board)
    }

    /// From here on the line is clean: within a bounded time there is a session, and bytes go both ways.
    fn assert_recovers(mut self) {
        if self.setting.is_other_new && self.setting.is_host {
            self.board = new_board(self.setting, self.now, 2);
        } else if self.setting.is_other_new {
            self.host = Owner::new(Link::host(self.setting.line(), 99));
        }
        let Self { now, host, board, .. } = &mut self;
        talk(now, host, board, RECOVERS_WITHIN, |_, _| false);
        assert!(
            host.link.is_open() && board.link.is_open(),
            "no session: host {:?} {}, board {:?} {}",
            host.told,
            host.link.stats(),
            board.told,
            board.link.stats()
        );
        let id = 9;
        assert!(
            host.link.open(id, Priority::Interactive) && board.link.open(id, Priority::Interactive)
        );
        let bytes: Vec<u8> = (0..1500u16).map(|number| number as u8).collect();
        assert_eq!((host.link.write(id, &bytes), board.link.write(id, &bytes)), (1500, 1500));
        let is_through = talk(now, host, board, RECOVERS_WITHIN, |host, board| {
            [&host.received, &board.received].map(|all| all.get(&id).map_or(0, Vec::len))
                == [1500; 2]
        });
        assert!(is_through, "a session that carries nothing");
        assert!(host.received[&id] == bytes && board.received[&id] == bytes);
    }
}

fn new_board(setting: Setting, now: Instant, boot: u8) -> Owner<16, 16> {
    let beacon =
        Beacon { boot_id: [boot; 16], nonce: u32::from(boot), role: 0, coding: setting.coding };
    Owner::new(Link::board(now, setting.line(), beacon))
}

/// Two silences (6.5 s each), two beacons (2 s each), and hellos.
const RECOVERS_WITHIN: Duration = Duration::from_secs(20);
