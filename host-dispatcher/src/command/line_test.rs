//! `pumice line-test`: how good a board's line is.

use std::fmt::Write as _;
use std::io::Write;
use std::num::NonZeroU32;

use agent_core::link::Stats;
use agent_core::time::Duration;
use serde::Serialize;

use super::hands_on::{fail, with_agent};
use crate::cli::{Global, LineTestArgs};
use crate::clock::Quality;
use crate::config::lab;
use crate::io::clock;
use crate::job::verdict::Verdict;
use crate::report::text::printable;
use crate::script::Fault;
use crate::script::line_test::{LineTest, Measured, RoundTrips, Traffic};

/// Tests the line and shows what it came to; also of a test that was interrupted.
pub fn line_test(global: &Global, args: &LineTestArgs) -> u8 {
    let period = Duration::from_secs(u64::from(args.seconds));
    let seed = NonZeroU32::MIN | clock::seed(clock::wall()) as u32;
    let tested = with_agent(global, &args.board, async |bench, board| {
        let mut measured = Measured::default();
        let outcome = bench.line_test(&LineTest { period, seed }, &mut measured).await;
        bench.observer(|observer| observer.pause());
        Ok((measured, Line::of(board), outcome.err()))
    });
    let (measured, line, fault) = match tested {
        Ok(tested) => tested,
        Err(fault) => return fail(&fault),
    };
    if measured.idle.is_some() {
        let report = report(&line, &measured, fault.as_ref());
        let text = if global.json {
            serde_json::json!(report).to_string() + "\n"
        } else {
            table(&line, &measured, &report)
        };
        if std::io::stdout().write_all(text.as_bytes()).is_err() {
            return 1;
        }
    }
    match fault {
        Some(fault) => fail(&fault),
        None if measured.wrong_bytes() > 0 => Verdict::Failed.exit_status(),
        None => Verdict::Passed.exit_status(),
    }
}

/// The line, as the lab describes it.
#[derive(Clone, Debug)]
struct Line {
    board: String,
    board_type: String,
    connection: String,
    /// Bits per second; `None` where bytes come as fast as they can: sockets and pipes.
    baud: Option<u32>,
}

impl Line {
    fn of(board: &lab::Board) -> Self {
        // A server without RFC 2217 keeps the line's speed for itself.
        let connection = board.agents_connection();
        let baud = connection.baud();
        Self {
            board: board.name.clone(),
            board_type: board.board_type.name.clone(),
            connection: connection.to_string(),
            baud,
        }
    }

    /// Payload of what the line could carry, in percent: a byte takes 10 bits (8N1).
    fn percent(&self, traffic: &Traffic) -> Option<f64> {
        self.baud.map(|baud| 1000.0 * traffic.goodput() / f64::from(baud))
    }
}

/// `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    board: &'a str,
    board_type: &'a str,
    connection: &'a str,
    line_rate_baud: Option<u32>,
    verdict: String,
    is_complete: bool,
    error: Option<&'a str>,
    to_board: Option<Direction>,
    from_board: Option<Direction>,
    console_bytes: u64,
    round_trip_idle: Option<RoundTrips>,
    round_trip_loaded: Option<RoundTrips>,
    clock_uncertainty_us: Option<u64>,
    clock_drift_ppm: Option<f64>,
    kernel_clock_offset_us: Option<i64>,
    uart_overruns: Option<u32>,
    uart_errors: Option<u32>,
    host_counters: Stats,
    agent_counters: Option<Stats>,
}

/// One direction. Numbers that only the agent knows are missing when it does not tell them.
#[derive(Debug, Serialize)]
struct Direction {
    goodput_bytes_per_second: f64,
    percent_of_line_rate: Option<f64>,
    #[serde(flatten)]
    traffic: Traffic,
    frames: u64,
    damaged_frames: Option<u64>,
    retransmits: Option<u64>,
}

fn report<'a>(line: &'a Line, measured: &Measured, fault: Option<&'a Fault>) -> Report<'a> {
    let Measured { host, board, .. } = measured;
    let direction = |traffic: Traffic, frames, damaged_frames, retransmits| Direction {
        goodput_bytes_per_second: rounded(traffic.goodput()),
        percent_of_line_rate: line.percent(&traffic).map(rounded),
        traffic,
        frames,
        damaged_frames,
        retransmits,
    };
    let agent = board.map(|board| board.stats);
    let verdict = match (measured.wrong_bytes(), fault) {
        (0, None) => measured.verdict().to_string(),
        (0, Some(_)) => format!("{} (not complete)", measured.verdict()),
        (wrong, _) => format!("bad: {wrong} wrong bytes arrived"),
    };
    Report {
        board: &line.board,
        board_type: &line.board_type,
        connection: &line.connection,
        line_rate_baud: line.baud,
        verdict,
        is_complete: fault.is_none(),
        error: fault.map(|fault| fault.message.as_str()),
        to_board: measured.to_board.map(|traffic| {
            let damaged = agent.map(|agent| agent.damaged_frames);
            direction(traffic, host.frames_out, damaged, Some(host.retransmits))
        }),
        from_board: measured.from_board.map(|traffic| {
            let frames = host.frames_in + host.damaged_frames;
            let retransmits = agent.map(|agent| agent.retransmits);
            direction(traffic, frames, Some(host.damaged_frames), retransmits)
        }),
        console_bytes: host.console_bytes,
        round_trip_idle: measured.idle,
        round_trip_loaded: measured.loaded,
        clock_uncertainty_us: measured.clock.map(|clock| clock.uncertainty_us),
        clock_drift_ppm: measured.clock.and_then(|clock| clock.drift_ppm).map(rounded),
        kernel_clock_offset_us: measured.clock.and_then(|clock| clock.kernel_offset_us),
        uart_overruns: board.map(|board| board.overruns),
        uart_errors: board.map(|board| board.errors),
        host_counters: *host,
        agent_counters: agent,
    }
}

fn table(line: &Line, measured: &Measured, report: &Report<'_>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<16} {}", printable(value));
    };
    row("board", &format!("{} ({})", line.board, line.board_type));
    let limit =
        line.baud.map_or_else(|| "no limit known".to_owned(), |baud| format!("{baud} baud"));
    row("line", &format!("{}, {limit}", line.connection));
    row("", &format!("{:>18} {:>18}", "to board", "from board"));
    let directions = [&report.to_board, &report.from_board];
    let mut both = |name: &str, show: &dyn Fn(&Direction) -> Option<String>| {
        let [to, from] = directions
            .map(|direction| direction.as_ref().and_then(show).unwrap_or_else(|| "-".to_owned()));
        row(name, &format!("{to:>18} {from:>18}"));
    };
    both("goodput", &|of| Some(format!("{:.0} bytes/s", of.goodput_bytes_per_second)));
    both("of the line", &|of| of.percent_of_line_rate.map(|percent| format!("{percent:.1} %")));
    both("received", &|of| Some(format!("{} bytes", of.traffic.bytes)));
    both("wrong", &|of| Some(format!("{} bytes", of.traffic.wrong_bytes)));
    both("frames", &|of| Some(of.frames.to_string()));
    both("damaged", &|of| of.damaged_frames.map(|damaged| rate(damaged, of.frames)));
    both("sent again", &|of| of.retransmits.map(|resent| rate(resent, of.frames)));
    row("foreign text", &format!("{:>18} {:>18}", "-", format!("{} bytes", report.console_bytes)));
    let uart = measured.board.map_or_else(
        || "the agent does not tell".to_owned(),
        |board| format!("{} overruns, {} errors", board.overruns, board.errors),
    );
    row("UART", &uart);
    for (name, trips) in [("round trip", measured.idle), ("... under load", measured.loaded)] {
        row(name, &trips.map_or_else(|| "-".to_owned(), |trips| in_words(&trips)));
    }
    if let Some(clock) = measured.clock {
        row("clock", &clock_in_words(&clock));
    }
    row("verdict", &report.verdict);
    text
}

fn in_words(trips: &RoundTrips) -> String {
    let RoundTrips { count, min_us, median_us, max_us } = *trips;
    let [min, median, max] = [min_us, median_us, max_us].map(ms);
    format!("{min} ms at best, {median} ms median, {max} ms at worst, of {count}")
}

fn clock_in_words(clock: &Quality) -> String {
    let mut text = format!("the board's is known to ±{} ms", ms(clock.uncertainty_us));
    if let Some(ppm) = clock.drift_ppm {
        let _ = write!(text, ", drifts by {ppm:+.1} ppm");
    }
    if let Some(us) = clock.kernel_offset_us {
        let _ = write!(text, "; its kernel log's is {:+.1} ms from it", us as f64 / 1000.0);
    }
    text
}

/// A number of so many.
fn rate(count: u64, of: u64) -> String {
    match count {
        0 => "0".to_owned(),
        _ => format!("{count} (1 in {})", of / count),
    }
}

fn ms(us: u64) -> String {
    format!("{:.1}", us as f64 / 1000.0)
}

/// With one digit, which is more than is certain.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
