//! Payload ÷ line rate by direction, coding, baud, inserted kernel text and damage, as a table that is checked in. A
//! change shows in its diff; nothing here is a verdict on time. Where text is the only fault, it is also asserted that
//! every byte of it came out, in order, and that no frame was hurt.
//! `PUMICE_UPDATE=1 cargo test -p agent-core --test link_sim goodput` writes the table anew.

use crate::pair::{Pair, Stream};
use agent_core::link::{Coding, Priority};
use serial_sim::{Options, Rng, Text};
use std::fmt::Write;
use std::path::Path;

#[test]
fn goodput() {
    // Each direction with a processor of its own: what is virtual is the time of the lines.
    let sections: Vec<String> = std::thread::scope(|scope| {
        let running = DIRECTIONS.map(|direction| scope.spawn(move || section(direction)));
        running.into_iter().map(|thread| thread.join().expect("a cell has failed")).collect()
    });
    let table = String::from(HEAD) + &sections.concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/link_goodput.txt");
    if std::env::var_os("PUMICE_UPDATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        table == frozen,
        "goodput has changed; look at it, then: PUMICE_UPDATE=1 cargo test -p agent-core --test link_sim \
         goodput\n{table}"
    );
}

/// Where the payload goes, and how the board's end sends.
#[derive(Clone, Copy, Debug)]
struct Direction {
    name: &'static str,
    is_down: bool,
    coding: Coding,
}

const DIRECTIONS: [Direction; 3] = [
    Direction { name: "host → board", is_down: true, coding: Coding::TextSafe },
    Direction { name: "board → host, text-safe", is_down: false, coding: Coding::TextSafe },
    Direction { name: "board → host, binary", is_down: false, coding: Coding::Binary },
];

const BAUDS: [u32; 4] = [9_600, 115_200, 921_600, 3_000_000];

const TEXTS: [(&str, Text); 3] = [
    ("none", Text::None),
    ("1/s", Text::Every { interval_us: 1_000_000 }),
    ("20/s", Text::Every { interval_us: 50_000 }),
];

/// The column's head, what is damaged, and payload enough for that to strike.
const FAULTS: [(&str, Fault, usize); 6] = [
    ("clean", |_| {}, 300_000),
    ("1e-6", |options| options.flip_one_in = 1_000_000, 1_000_000),
    ("1e-5", |options| options.flip_one_in = 100_000, 300_000),
    ("1e-4", |options| options.flip_one_in = 10_000, 300_000),
    ("1e-3", |options| options.flip_one_in = 1_000, 300_000),
    ("overruns", |options| options.burst_one_in = 50_000, 300_000),
];

type Fault = fn(&mut Options);

/// The part of the table for one direction.
fn section(direction: Direction) -> String {
    let mut section = format!("\n{}\n{:>10}{:>6}", direction.name, "baud", "text");
    for (name, ..) in FAULTS {
        write!(section, "{name:>10}").unwrap();
    }
    section.push('\n');
    for baud in BAUDS {
        for (number, (name, text)) in TEXTS.into_iter().enumerate() {
            let head = if number == 0 { baud.to_string() } else { String::new() };
            write!(section, "{head:>10}{name:>6}").unwrap();
            for (_, fault, count) in FAULTS {
                let mut faulty = Options { text, ..Options::clean(baud) };
                fault(&mut faulty);
                if is_asked(direction, &faulty) {
                    write!(section, "{:>10.3}", measure(direction, faulty, count)).unwrap();
                } else {
                    write!(section, "{:>10}", "-").unwrap();
                }
            }
            section.push('\n');
        }
    }
    section
}

/// An overrun is a fault by itself. At 9600 twenty lines a second are more than the line; at 115200 there are 576 bytes
/// from one to the next, which binary frames do not get through.
fn is_asked(direction: Direction, faulty: &Options) -> bool {
    let is_dense = faulty.text == TEXTS[2].1;
    let enough_for_dense = if direction.coding == Coding::Binary { 921_600 } else { 115_200 };
    match faulty.text {
        Text::None => true,
        _ => faulty.burst_one_in == 0 && (!is_dense || faulty.baud >= enough_for_dense),
    }
}

/// Payload bits ÷ the bits that the line could have carried (less those of inserted text) in the same time, from the
/// first byte that is sent to the last that arrives. Faults strike both directions; text only the board's.
fn measure(direction: Direction, faulty: Options, count: usize) -> f64 {
    let Direction { is_down, coding, .. } = direction;
    let baud = faulty.baud;
    let mut pair = Pair::new(u64::from(baud), coding, Options::clean(baud), Options::clean(baud));
    pair.open();
    let beacons = pair.host.console.len();
    pair.down.set_options(pair.now, Options { text: Text::None, ..faulty.clone() });
    pair.up.set_options(pair.now, faulty.clone());
    let sending = Stream::sending(Priority::Bulk, Rng::new(1).bytes(count));
    let receiving = Stream { extra_credit: 30_000, ..Stream::receiving(Priority::Bulk) };
    let begin = pair.now;
    let (host, board) = if is_down { (sending, receiving) } else { (receiving, sending) };
    pair.stream(1, host, board);
    pair.finish_streams(3_600_000_000);
    pair.assert_exact();
    let receiver = if is_down { &pair.board.streams[&1] } else { &pair.host.streams[&1] };
    let end = receiver.last_at;
    let text = if is_down { 0 } else { pair.up.counts().inserted };
    let line_bytes = (end - begin) as f64 * f64::from(baud) / 10_000_000.0 - text as f64;
    // To binary frames text is damage; a board with a console sends text-safe ones.
    let is_survived = coding == Coding::TextSafe && faulty.flip_one_in == 0;
    if is_survived && faulty.text != Text::None {
        assert_text_did_no_harm(pair, beacons);
    }
    count as f64 / line_bytes
}

/// Behind the first `beacons` bytes the console has what was printed, every byte in its place, and no frame was lost.
fn assert_text_did_no_harm(mut pair: Pair, beacons: usize) {
    pair.up.set_options(pair.now, Options { text: Text::None, ..pair.up.options().clone() });
    pair.settle(1_000_000);
    let (console, printed) = (&pair.host.console[beacons..], pair.up.inserted());
    assert!(!printed.is_empty(), "nothing was printed: {}", pair.describe());
    assert!(console == printed, "{} console bytes for {}", console.len(), printed.len());
    for stats in [pair.host.link.stats(), pair.board.link.stats()] {
        let hurt = (stats.damaged_frames, stats.overlong, stats.stale);
        assert_eq!(hurt, (0, 0, 0), "{}", pair.describe());
    }
}

const HEAD: &str = "\
Goodput of one bulk stream: payload ÷ what the line could have carried, in virtual time.
Columns: one byte in 10^6, 10^5, 10^4, 10^3 with a flipped bit; an overrun of 1 to 66 bytes once in 50,000; both ways.
Rows: complete kernel lines of 18 to 99 bytes, none, one a second, one every 50 ms, anywhere between the bytes that the
board sends (their own bytes do not count). Binary frames from the board are meant for a UART without them; a dash: not
asked, since text is more than the line, or every frame is hit.
Targets (DESIGN.md §9, at 115200): host → board clean ≥ 0.975, 1e-5 ≥ 0.96, 1e-4 ≥ 0.88; board → host clean
text-safe ≥ 0.85, binary ≥ 0.97.
";
