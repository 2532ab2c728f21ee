//! Random traffic over random lines: every byte arrives exactly once and in order, whatever the line does, and every byte
//! that is read is accounted for (see `End::assert_accounts`).

use crate::pair::{Pair, Stream, Told};
use agent_core::link::{Coding, Priority};
use serial_sim::{Options, Rng, Text};

const SEEDS: u64 = 200;

#[test]
fn sweep() {
    for_each_seed("sweep", |seed| faults(seed, Coding::TextSafe));
}

#[test]
fn binary() {
    for_each_seed("binary", |seed| faults(seed, Coding::Binary));
}

fn faults(seed: u64, coding: Coding) {
    let mut rng = Rng::new(seed);
    let mut pair = random_pair(&mut rng, coding, |rng, baud| random_faults(rng, coding, baud));
    let total = random_traffic(&mut rng, &mut pair);
    // A line that bad carries a tenth of its rate, and then some for timeouts.
    let baud = u64::from(pair.up.options().baud);
    pair.finish_streams(30_000_000 + total * 10 * 1_000_000 / baud * 20);
    pair.assert_exact();
    assert_no_second_session(&pair);
    // An idle line has a ping in two seconds: on a line that bad, three of them may be lost in a row.
    for line in [&mut pair.down, &mut pair.up] {
        let clean =
            Options { latency_us: line.options().latency_us, ..Options::clean(baud as u32) };
        line.set_options(pair.now, clean);
    }
    pair.settle(10_000_000);
    assert_no_second_session(&pair);
}

#[test]
fn text_only() {
    for_each_seed("text_only", |seed| {
        let (pair, shown) = among_text(seed, Coding::TextSafe, false);
        assert!(
            shown == *pair.up.inserted(),
            "console text differs: {} bytes for {}",
            shown.len(),
            pair.up.inserted().len()
        );
        for stats in [pair.host.link.stats(), pair.board.link.stats()] {
            let damage = (stats.damaged_frames, stats.overlong, stats.stale, stats.damaged_bytes);
            assert_eq!(damage, (0, 0, 0, 0), "{stats}");
        }
    });
}

/// Letters that are not ASCII have bytes like those of a frame. One that falls into a frame is taken for a part of it and
/// damages it, and both are counted; what is ASCII is shown, wherever it falls.
#[test]
fn utf8_text() {
    for_each_seed("utf8_text", |seed| {
        let (pair, shown) = among_text(seed, Coding::TextSafe, true);
        let ascii = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().copied().filter(|byte| *byte < 0x80 && *byte != CLOSE).collect()
        };
        assert!(ascii(&shown) == ascii(pair.up.inserted()), "{}", pair.describe());
        let stats = pair.host.link.stats();
        if stats.overlong == 0 {
            assert!(is_within(&shown, pair.up.inserted()), "{}", pair.describe());
            let missing = pair.up.inserted().len() - shown.len();
            assert!(missing as u64 <= stats.damaged_bytes, "{missing} bytes: {stats}");
        }
    });
}

/// In binary frames text is no different from data: it damages them, and what is no frame is shown, with the text in it.
/// Only a letter that is not ASCII may be counted as damaged, where a byte of data looked like the begin of a text-safe
/// frame.
#[test]
fn text_among_binary() {
    for_each_seed("text_among_binary", |seed| {
        let (pair, shown) = among_text(seed, Coding::Binary, seed % 2 == 1);
        let mut text = pair.up.inserted().to_vec();
        if pair.host.link.stats().damaged_bytes > 0 {
            text.retain(u8::is_ascii);
        }
        assert!(is_within(&text, &shown), "{}", pair.describe());
    });
}

/// Random traffic while others print and nothing else goes wrong, and what the host's console then shows of it.
fn among_text(seed: u64, coding: Coding, is_utf8: bool) -> (Pair, Vec<u8>) {
    let mut rng = Rng::new(seed);
    let mut pair = random_pair(&mut rng, coding, |_, baud| Options::clean(baud));
    let mut options = Options { is_utf8, ..pair.up.options().clone() };
    let room = room(coding, is_utf8);
    options.text = if rng.one_in(2) {
        Text::OneIn { bytes: rng.between(if room == 1 { 20 } else { 500 }, 2_000 * room) }
    } else {
        Text::Every { interval_us: room * 50_000 * 115_200 / u64::from(options.baud) }
    };
    let before = pair.host.console.len();
    pair.up.set_options(pair.now, options.clone());
    let total = random_traffic(&mut rng, &mut pair);
    let baud = u64::from(options.baud);
    pair.finish_streams(30_000_000 + total * 10 * 1_000_000 / baud * 20);
    pair.assert_exact();
    assert_no_second_session(&pair);
    pair.up.set_options(pair.now, Options { text: Text::None, ..options });
    pair.settle(1_000_000);
    let shown = pair.host.console[before..].to_vec();
    (pair, shown)
}

/// Whether `whole` has all bytes of `part` in their order, with others between.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}

/// Runs all seeds, the first `PUMICE_SEEDS`, or the one of `PUMICE_SEED`; says how to run a failed one again.
pub(crate) fn for_each_seed(test: &str, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("PUMICE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PUMICE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("again: PUMICE_SEED={seed} cargo test -p agent-core --test link_sim {test}");
            std::panic::resume_unwind(panic);
        }
    }
}

pub(crate) fn random_baud(rng: &mut Rng) -> u32 {
    *rng.pick(&[9_600, 115_200, 115_200, 115_200, 921_600, 3_000_000])
}

pub(crate) fn random_coding(rng: &mut Rng) -> Coding {
    *rng.pick(&[Coding::TextSafe, Coding::Binary])
}

/// Every fault that a line can have, more or less often; not so often that a session may end of it.
pub(crate) fn random_faults(rng: &mut Rng, coding: Coding, baud: u32) -> Options {
    let mut options = Options::clean(baud);
    let mut rate = || *rng.pick(&[0, 0, 1_000, 3_000, 10_000, 100_000]);
    options.flip_one_in = rate();
    options.drop_one_in = rate();
    options.burst_one_in = rate() * 3;
    options.duplicate_one_in = rate() / 5;
    options.stall_one_in = rate() * 3;
    options.stall_max_us = rng.below(300_000);
    options.is_utf8 = rng.one_in(3);
    if rng.one_in(2) {
        let room = room(coding, options.is_utf8);
        options.text = Text::OneIn { bytes: rng.between(200 * room, 5_000 * room) };
    }
    options.latency_us = *rng.pick(&[500, 1_000, 2_000, 16_000]);
    options.is_split = rng.one_in(2);
    options
}

/// How much rarer text is where it damages frames. One on its way keeps its length, and must find room between two.
fn room(coding: Coding, is_utf8: bool) -> u64 {
    if coding == Coding::TextSafe && !is_utf8 { 1 } else { 10 }
}

fn random_pair(
    rng: &mut Rng,
    coding: Coding,
    mut options: impl FnMut(&mut Rng, u32) -> Options,
) -> Pair {
    let baud = random_baud(rng);
    let mut side = |rng: &mut Rng| {
        let mut options = options(rng, baud);
        options.latency_us = *rng.pick(&[500, 1_000, 2_000, 16_000]);
        options.is_split = rng.one_in(2);
        options
    };
    let (mut down, up) = (side(rng), side(rng));
    // Nobody else writes to the board.
    down.text = Text::None;
    // Damage begins with the session: how one opens in spite of it is asked elsewhere.
    let mut pair = Pair::new(rng.next_u64(), coding, Options::clean(baud), Options::clean(baud));
    pair.open();
    pair.down.set_options(pair.now, down);
    pair.up.set_options(pair.now, up);
    pair
}

/// Opens streams and returns the bytes that will travel on them.
fn random_traffic(rng: &mut Rng, pair: &mut Pair) -> u64 {
    let mut total = 0;
    let scale = if pair.up.options().baud < 20_000 { 4 } else { 1 };
    for id in 0..=rng.between(1, 8) as u8 {
        let priority = if id == 0 {
            Priority::Control
        } else {
            *rng.pick(&[Priority::Interactive, Priority::Interactive, Priority::Bulk])
        };
        let mut side = || {
            let count = match rng.below(4) {
                0 => 0,
                1 => rng.below(40),
                2 => rng.below(1_500) / scale,
                _ => rng.below(5_000) / scale,
            };
            total += count;
            let bytes = rng.bytes(count as usize);
            let extra_credit = if rng.one_in(3) { rng.below(10_000) as usize } else { 0 };
            let finishes = id != 0 && rng.one_in(2);
            Stream { finishes, extra_credit, ..Stream::sending(priority, bytes) }
        };
        let (host, board) = (side(), side());
        pair.stream(id, host, board);
    }
    total
}

fn assert_no_second_session(pair: &Pair) {
    assert_eq!(pair.host.events, [Told::Beacon, Told::Opened], "host: {}", pair.describe());
    assert_eq!(pair.board.events, [Told::Opened], "board: {}", pair.describe());
}

/// The end of a text-safe frame.
const CLOSE: u8 = 0x1F;
