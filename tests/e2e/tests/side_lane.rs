//! Bulk over the network beside the line: the real agent on a pseudo-terminal, and a network that does what it is told; and
//! the emulated board with a network card.

use std::fs;

use e2e::emulator::Slot;
use e2e::line::Line;
use e2e::program::Running;
use e2e::standing::Standing;
use e2e::{Fate, Lab, Noise, Output, Proxy, random};
use serde_json::Value;

/// A line with an agent, and a lab that knows a way beside it.
struct Bench {
    lab: Lab,
    line: Line,
    _agent: Running,
}

impl Bench {
    fn new(side_lane: &str) -> Self {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let agent = line.agent(&[]);
        let connection = line.connection();
        let lab = Lab::new(&format!(
            "boards:\n  - {{name: here, type: generic, connection: \"{connection}\", side_lane: {side_lane}}}\n"
        ));
        Self { lab, line, _agent: agent }
    }

    /// Brings random bytes there and back; what the push said of itself, and its whole output.
    fn there_and_back(&self, bytes: usize, seed: u64) -> (Value, Output) {
        let content = random(bytes, seed);
        self.lab.write("file", &content);
        let remote = self.line.root().join("file").display().to_string();
        let output = self.lab.pumice(&["push", "here", "file", &remote, "--json"]).exits_with(0);
        assert!(fs::read(&remote).unwrap() == content, "it is there as it was");
        let pushed = serde_json::from_str(&output.out()).unwrap();
        self.lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
        assert!(fs::read(self.lab.path("back")).unwrap() == content, "it is back as it was");
        (pushed, output)
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn bulk_takes_the_lane_and_the_line_the_rest() {
    let bench = Bench::new("127.0.0.1");
    let shown = bench.lab.pumice(&["info", "here"]).exits_with(0).out();
    assert!(shown.contains("side lane   the board reaches this host at 127.0.0.1\n"), "{shown}");
    let (pushed, output) = bench.there_and_back(3_000_000, 1);
    assert!(number(&pushed, "lane_bytes_out") > 3_000_000, "{pushed}");
    assert!(number(&pushed, "line_bytes_out") < 30_000, "{pushed}");
    assert!(bench.line.bytes_to_board() < 40_000, "{}", bench.line.bytes_to_board());
    assert!(bench.line.bytes_to_host() < 80_000, "{}", bench.line.bytes_to_host());
    assert!(!output.err().contains("side lane"), "{output:?}");
}

#[test]
fn what_a_lane_had_on_it_when_it_broke_comes_by_the_line() {
    for (cut_after, seed) in [(0, 1), (1, 2), (700, 3), (40_000, 4), (200_001, 5)] {
        let proxy = Proxy::new(Fate::CutAfter(cut_after));
        let bench = Bench::new(&proxy.side_lane());
        let (pushed, output) = bench.there_and_back(600_000, seed);
        assert!(proxy.carried() <= cut_after, "{} of {cut_after}", proxy.carried());
        assert!(number(&pushed, "line_bytes_out") > 600_000 - cut_after, "{pushed}");
        // Before the first bulk it is a note in the record, for nothing had to take another way.
        if cut_after >= 40_000 {
            output.says("warning: the side lane has ended, bulk goes over the line again: ");
        }
    }
}

#[test]
fn a_lane_that_leads_nowhere_is_left() {
    let proxy = Proxy::new(Fate::StoppedAfter(100_000));
    let bench = Bench::new(&proxy.side_lane());
    let (pushed, output) = bench.there_and_back(600_000, 6);
    assert!(number(&pushed, "line_bytes_out") > 500_000, "{pushed}");
    output.says("bulk goes over the line again: nothing moved on it any more");
}

#[test]
fn a_byte_that_is_another_ends_the_lane_and_harms_nothing() {
    let proxy = Proxy::new(Fate::SpoiltAfter(100_000));
    let bench = Bench::new(&proxy.side_lane());
    let (pushed, output) = bench.there_and_back(600_000, 7);
    assert!(number(&pushed, "line_bytes_out") > 400_000, "{pushed}");
    output.says("bulk goes over the line again: ");
}

#[test]
fn a_network_that_leads_nowhere_is_named_and_the_line_does_it_all() {
    // Port 1 of this host: nobody listens there.
    let bench = Bench::new("{address: '127.0.0.1:1', listen: '127.0.0.1:0'}");
    // 0 is no port.
    bench.lab.pumice(&["info", "here"]).exits_with(2).says("a port from 1 on or none");
    let bench = Bench::new("{address: '127.0.0.1:1', listen: '127.0.0.2:4711'}");
    let shown = bench.lab.pumice(&["info", "here"]).exits_with(0).out();
    let why = "the board cannot connect to this host: Connection refused";
    assert!(shown.contains(&format!("none, bulk goes over the line: {why}")), "{shown}");
    let (pushed, output) = bench.there_and_back(200_000, 8);
    assert_eq!(number(&pushed, "lane_bytes_out"), 0);
    output.says(&format!("warning: there is no side lane, bulk stays on the line: {why}"));
}

/// A board without a side lane connects to nobody: it is not even asked.
#[test]
fn without_a_word_in_the_lab_there_is_none() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let agent = line.agent(&[]);
    let bench = Bench { lab: Lab::on_line(line.connection()), line, _agent: agent };
    let (pushed, output) = bench.there_and_back(100_000, 9);
    assert_eq!(number(&pushed, "lane_bytes_out"), 0);
    assert!(!output.err().contains("lane"), "{output:?}");
    let shown = bench.lab.pumice(&["info", "here"]).exits_with(0).out();
    assert!(!shown.contains("side lane"), "{shown}");
}

/// The emulator's network answers for the board's: when that is gone, nobody closes anything.
#[test]
fn a_board_with_a_network_card_and_then_without() {
    let _slot = Slot::take();
    let board = Standing::with_network();
    let lab = board.lab();
    let up = "modprobe virtio_net; ip link set eth0 up && ip address add 10.0.2.15/24 dev eth0";
    let is_up = (0..20).any(|_| lab.pumice(&["exec", "here", "--", "sh", "-c", up]).status == 0);
    assert!(is_up, "no agent answers");
    let content = random(3_000_000, 1);
    lab.write("file", &content);
    let push = || lab.pumice(&["push", "here", "file", "/tmp/file", "--json"]).exits_with(0);
    let pushed: Value = serde_json::from_str(&push().out()).unwrap();
    assert!(number(&pushed, "lane_bytes_out") > 3_000_000, "{pushed}");
    assert!(number(&pushed, "line_bytes_out") < 30_000, "{pushed}");
    lab.pumice(&["pull", "here", "/tmp/file", "back"]).exits_with(0);
    assert!(fs::read(lab.path("back")).unwrap() == content, "it is back as it was");

    // By the count of its bytes the card is gone in the middle of the next file. A byte on the emulated line takes 50 µs.
    let count = "/sys/class/net/eth0/statistics/rx_bytes";
    let gone = format!(
        "begun=$(cat {count}); while [ $(($(cat {count}) - begun)) -lt 150000 ]; do :; done; ip link set eth0 down"
    );
    let script = format!("({gone}) > /dev/null 2>&1 < /dev/null &");
    lab.pumice(&["exec", "here", "--", "sh", "-c", &script]).exits_with(0);
    lab.write("file", random(400_000, 2));
    // The agent has read it back.
    let output = push();
    let pushed: Value = serde_json::from_str(&output.out()).unwrap();
    assert!(number(&pushed, "lane_bytes_out") > 140_000, "{pushed}");
    assert!(number(&pushed, "line_bytes_out") > 20_000, "{pushed}");
    output.says("bulk goes over the line again: ");
    let shown = lab.pumice(&["info", "here"]).exits_with(0).out();
    assert!(
        shown.contains("the board cannot connect to this host: Network is unreachable"),
        "{shown}"
    );
}
