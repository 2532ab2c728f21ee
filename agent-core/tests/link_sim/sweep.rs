//! Random traffic over random lines: every byte arrives exactly once and in order, whatever the line does.

use crate::pair::{Pair, Stream, Told};
use agent_core::link::{Coding, Priority};
use serial_sim::{Options, Rng, Text};

const SEEDS: u64 = 200;

#[test]
fn sweep() {
    for_each_seed("sweep", |seed| {
        let mut rng = Rng::new(seed);
        let mut pair = random_pair(&mut rng, |rng, baud| {
            let mut options = Options::clean(baud);
            let mut rate = || *rng.pick(&[0, 0, 1_000, 3_000, 10_000, 100_000]);
            options.flip_one_in = rate();
            options.drop_one_in = rate();
            options.burst_one_in = rate() * 3;
            options.duplicate_one_in = rate() / 5;
            if rng.one_in(2) {
                options.text = Text::OneIn { bytes: rng.between(200, 5_000) };
            }
            options
        });
        let total = random_traffic(&mut rng, &mut pair);
        // A line that bad carries a tenth of its rate, and then some for timeouts.
        let baud = u64::from(pair.up.options().baud);
        pair.finish_streams(30_000_000 + total * 10 * 1_000_000 / baud * 20);
        pair.assert_exact();
        assert_no_second_session(&pair);
        pair.settle(10_000_000);
        assert_no_second_session(&pair);
    });
}

#[test]
fn text_only() {
    for_each_seed("text_only", |seed| {
        let mut rng = Rng::new(seed);
        let mut pair = random_pair(&mut rng, |_, baud| Options::clean(baud));
        let mut options = pair.up.options().clone();
        options.text = if rng.one_in(2) {
            Text::OneIn { bytes: rng.between(20, 2_000) }
        } else {
            Text::Every { interval_us: 50_000 * 115_200 / u64::from(options.baud) }
        };
        let beacons = pair.host.console.len();
        pair.up.set_options(pair.now, options.clone());
        let total = random_traffic(&mut rng, &mut pair);
        let baud = u64::from(options.baud);
        pair.finish_streams(30_000_000 + total * 10 * 1_000_000 / baud * 20);
        pair.assert_exact();
        assert_no_second_session(&pair);
        pair.up.set_options(pair.now, Options { text: Text::None, ..options });
        pair.settle(1_000_000);
        assert!(
            pair.host.console[beacons..] == *pair.up.inserted(),
            "console text differs: {} bytes for {}",
            pair.host.console.len() - beacons,
            pair.up.inserted().len()
        );
        for stats in [pair.host.link.stats(), pair.board.link.stats()] {
            assert_eq!((stats.damaged_frames, stats.overlong, stats.stale), (0, 0, 0), "{stats}");
        }
    });
}

/// Runs all seeds, the first `PUMICE_SEEDS`, or the one of `PUMICE_SEED`; says how to run a failed one again.
fn for_each_seed(test: &str, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
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

fn random_pair(rng: &mut Rng, mut options: impl FnMut(&mut Rng, u32) -> Options) -> Pair {
    let baud = *rng.pick(&[9_600, 115_200, 115_200, 115_200, 921_600, 3_000_000]);
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
    let mut pair =
        Pair::new(rng.next_u64(), Coding::TextSafe, Options::clean(baud), Options::clean(baud));
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
