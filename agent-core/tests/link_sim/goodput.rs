//! Payload ÷ line rate by baud and fault, as a table that is checked in. A change shows in its diff; nothing here is a
//! verdict on time. `PUMICE_UPDATE=1 cargo test -p agent-core --test link_sim goodput` writes it anew.

use crate::pair::{Pair, Stream};
use agent_core::link::{Coding, Priority};
use serial_sim::{Options, Rng, Text};
use std::fmt::Write;
use std::path::Path;

const BAUDS: [u32; 4] = [9_600, 115_200, 921_600, 3_000_000];

#[test]
fn goodput() {
    let mut table = String::from(HEAD);
    for coding in [Coding::TextSafe, Coding::Binary] {
        for is_down in [true, false] {
            if is_down && coding == Coding::Binary {
                continue;
            }
            let name = match (is_down, coding) {
                (true, _) => "host → board",
                (_, Coding::TextSafe) => "board → host, text-safe",
                (_, Coding::Binary) => "board → host, binary",
            };
            writeln!(table, "\n{name}\n{:>10}{}", "baud", heads()).unwrap();
            for baud in BAUDS {
                write!(table, "{baud:>10}").unwrap();
                for (_, fault) in FAULTS {
                    match measure(coding, is_down, baud, fault) {
                        Some(ratio) => write!(table, "{ratio:>11.3}").unwrap(),
                        None => write!(table, "{:>11}", "-").unwrap(),
                    }
                }
                table.push('\n');
            }
        }
    }
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

type Fault = fn(&mut Options);

const FAULTS: [(&str, Fault); 6] = [
    ("clean", |_| {}),
    ("1e-5", |options| options.flip_one_in = 100_000),
    ("1e-4", |options| options.flip_one_in = 10_000),
    ("1e-3", |options| options.flip_one_in = 1_000),
    ("overruns", |options| options.burst_one_in = 50_000),
    ("text", |options| options.text = Text::Every { interval_us: 50_000 }),
];

fn heads() -> String {
    FAULTS.iter().fold(String::new(), |mut heads, (name, _)| {
        let _ = write!(heads, "{name:>11}");
        heads
    })
}

/// Payload bits ÷ the bits that the line could have carried (less those of inserted text) in the same time, from the
/// first byte that arrives to the last. Faults strike both directions; text only the board's.
fn measure(coding: Coding, is_down: bool, baud: u32, fault: Fault) -> Option<f64> {
    let mut faulty = Options::clean(baud);
    fault(&mut faulty);
    if faulty.text != Text::None && (coding == Coding::Binary || baud < 115_200) {
        // Binary frames do not survive text, and slow lines carry nothing else beside so much.
        return None;
    }
    let mut pair = Pair::new(u64::from(baud), coding, Options::clean(baud), Options::clean(baud));
    pair.open();
    pair.down.set_options(pair.now, Options { text: Text::None, ..faulty.clone() });
    pair.up.set_options(pair.now, faulty);
    let count = if baud < 20_000 { 20_000 } else { 100_000 };
    let sending = Stream::sending(Priority::Bulk, Rng::new(1).bytes(count));
    let receiving = Stream { extra_credit: 30_000, ..Stream::receiving(Priority::Bulk) };
    let begin = pair.now;
    let text_before = pair.up.counts().inserted;
    let (host, board) = if is_down { (sending, receiving) } else { (receiving, sending) };
    pair.stream(1, host, board);
    pair.finish_streams(3_600_000_000);
    pair.assert_exact();
    let end = if is_down { pair.board.streams[&1].last_at } else { pair.host.streams[&1].last_at };
    let text = if is_down { 0 } else { pair.up.counts().inserted - text_before };
    let line_bytes = (end - begin) as f64 * f64::from(baud) / 10_000_000.0 - text as f64;
    Some(count as f64 / line_bytes)
}

const HEAD: &str = "\
Goodput of one bulk stream: payload ÷ what the line could have carried, in virtual time.
Faults in both directions: one byte in 10^5, 10^4, 10^3 with a flipped bit; an overrun of 1 to 66 bytes once in
50,000; a kernel line every 50 ms in the board's direction (its own bytes do not count).
Targets (DESIGN.md §9, at 115200): host → board clean ≥ 0.975, 1e-5 ≥ 0.96, 1e-4 ≥ 0.88; board → host clean
text-safe ≥ 0.85, binary ≥ 0.97.
";
