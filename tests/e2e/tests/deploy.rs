//! Deploys by the built programs over a pseudo-terminal, onto files as partitions: what goes over the line, and what is
//! there after a cut.
#![allow(
    clippy::disallowed_methods,
    reason = "the programs have real clocks, and a line is looked at now and then"
)]

use e2e::line::Line;
use e2e::program::{Output, PATIENCE, Running};
use e2e::{Lab, Noise, random};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const PARTITION: usize = 12 << 20;

/// An agent with a partition `testrootfs` of [`PARTITION`] bytes, and a lab with its line.
struct Bench {
    lab: Lab,
    line: Line,
    agent: Option<Running>,
}

impl Bench {
    fn new() -> Self {
        let line = Line::with_socket(Noise::default(), Noise::default());
        fs::write(line.root().join("disk"), random(PARTITION, 99)).unwrap();
        let lab = Lab::on_line(line.connection());
        let mut bench = Self { lab, line, agent: None };
        bench.start_agent();
        bench
    }

    fn start_agent(&mut self) {
        self.agent = None;
        let disk = format!("testrootfs={}", self.line.root().join("disk").display());
        let other = self.line.root().join("other");
        let other_words = ["--partition".to_owned(), format!("testboot={}", other.display())];
        let other_words = other.exists().then_some(other_words);
        let mut words = vec!["--partition", &disk];
        words.extend(other_words.iter().flatten().map(String::as_str));
        self.agent = Some(self.line.agent(&words));
    }

    fn disk(&self) -> Vec<u8> {
        fs::read(self.line.root().join("disk")).unwrap()
    }

    /// Somebody else writes to the partition.
    fn use_disk(&self, offset: usize, bytes: &[u8]) {
        let disk = fs::File::options().write(true).open(self.line.root().join("disk")).unwrap();
        disk.write_all_at(bytes, offset as u64).unwrap();
    }

    /// Until so many bytes have gone to the board in all.
    fn wait_for_bytes(&self, bytes: u64) {
        let begun = Instant::now();
        while self.line.bytes_to_board() < bytes {
            assert!(begun.elapsed() < PATIENCE, "nothing is sent");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn deploy(&self, image: &str) -> Value {
        json(&self.lab.pumice(&["deploy", "here", image, "--json"]).exits_with(0))
    }

    /// The partition begins with this, and is as it was behind it.
    fn holds(&self, image: &[u8]) {
        let disk = self.disk();
        assert!(disk[..image.len()] == *image, "the partition is the image");
        assert!(disk[image.len()..] == random(PARTITION, 99)[image.len()..], "and no more");
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.out()).unwrap()
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key}: {report}"))
}

/// Eight MiB: a third of it zeros; and the version after it, in which everything has moved by three blocks, 40 blocks have
/// some new bytes and ten are new.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let mut old = random(8 << 20, 1);
    old[3 << 20..6 << 20].fill(0);
    let mut new = random(3 * BLOCK, 2);
    new.extend_from_slice(&old);
    for block in 0..40 {
        let at = (100 + block * 7) * BLOCK + 123;
        new[at..at + 100].copy_from_slice(&random(100, 1000 + block as u64));
    }
    let end = random(7 * BLOCK + 5, 3);
    new.extend_from_slice(&end);
    (old, new)
}

#[test]
fn what_another_partition_holds_is_copied_from_there() {
    let mut bench = Bench::new();
    let (old, new) = versions();
    let other = bench.line.root().join("other");
    fs::write(&other, vec![0x5a; PARTITION]).unwrap();
    bench.start_agent();
    bench.lab.write("old.img", &old);
    bench.lab.write("new.img", &new);
    bench.deploy("old.img");
    let words = ["deploy", "here", "new.img", "--to", "testboot", "--json"];
    let copied = json(&bench.lab.pumice(&words).exits_with(0));
    assert!(fs::read(&other).unwrap()[..new.len()] == new);
    assert!(number(&copied["bytes"], "copied") > 4 << 20, "{copied}");
    assert!(number(&copied, "plan_bytes") < 350_000, "{copied}");
    bench.holds(&old);
    // Somebody has changed the source behind the agent's back. Whether its hashes are known from before or read anew: what
    // is not there is not copied, or found out and sent.
    bench.use_disk(0, &random(6 << 20, 77));
    fs::write(&other, vec![0x5a; PARTITION]).unwrap();
    bench.lab.pumice(&words).exits_with(0);
    assert!(fs::read(&other).unwrap()[..new.len()] == new);
}

/// It costs the line next to nothing to fill it, and saves it the image when something else was on the partition meanwhile.
#[test]
fn a_file_that_the_lab_names_is_filled_on_the_board_and_read_there() {
    let mut bench = Bench::new();
    let file = bench.line.root().join("base.img");
    let path = file.to_str().unwrap();
    bench.lab = Lab::new(&format!(
        "boards:\n  - {{name: here, type: generic, connection: \"{}\", image_files: [\"{path}\"]}}\n",
        bench.line.connection()
    ));
    let (old, new) = versions();
    bench.lab.write("old.img", &old);
    bench.lab.write("new.img", &new);
    bench.lab.write("other.img", random(2 << 20, 50).repeat(4));
    bench.deploy("old.img");
    let words = ["push", "here", "old.img", path, "--json"];
    let pushed = json(&bench.lab.pumice(&words).exits_with(0));
    assert!(number(&pushed, "plan_bytes") < 1000, "{pushed}");
    assert!(fs::read(&file).unwrap() == old);
    bench.deploy("other.img");
    let back = bench.deploy("new.img");
    assert!(number(&back["bytes"], "copied") > 4 << 20, "{back}");
    assert!(number(&back, "plan_bytes") < 350_000, "{back}");
    bench.holds(&new);
    // A file that is gone is no source, and no error.
    fs::remove_file(&file).unwrap();
    bench.deploy("other.img");
    bench.deploy("old.img");
    assert!(bench.disk()[..old.len()] == old);
}

#[test]
fn an_update_sends_what_the_board_does_not_have() {
    let bench = Bench::new();
    let (old, new) = versions();
    bench.lab.write("old.img", &old);
    bench.lab.write("new.img", &new);

    let first = bench.deploy("old.img");
    bench.holds(&old);
    let bytes = number(&first, "plan_bytes");
    assert!((5 << 20..(5 << 20) + (5 << 20) / 50).contains(&bytes), "zeros are not sent: {first}");

    let again = bench.deploy("old.img");
    assert_eq!(number(&again, "hash_bytes"), 16, "the root alone: {again}");
    assert!(number(&again, "plan_bytes") < 64, "{again}");

    // Logs, as a test leaves them.
    bench.use_disk(1_000_000, &random(200_000, 4));
    let update = bench.deploy("new.img");
    bench.holds(&new);
    let sent = number(&update["bytes"], "sent");
    assert!(
        number(&update, "plan_bytes") < 350_000,
        "what is new, and what was overwritten: {update}"
    );
    assert!(sent < 110 * BLOCK as u64, "{update}");
    assert!(number(&update["bytes"], "copied") > 4 << 20, "{update}");

    bench.use_disk(4_000_000, b"a used partition");
    let restored = bench.deploy("new.img");
    bench.holds(&new);
    assert!(number(&restored, "line_bytes_out") < 10_000, "{restored}");
}

/// Neither the image nor the board is touched, and no record says that anything was written.
#[test]
fn a_partition_that_is_mounted_is_refused_with_the_mend() {
    let mut bench = Bench::new();
    let (old, new) = versions();
    bench.lab.write("old.img", &old);
    bench.lab.write("new.img", &new);
    bench.deploy("old.img");
    // A partition given as a directory counts as mounted there.
    let mounted = bench.line.root().join("other");
    fs::create_dir(&mounted).unwrap();
    bench.start_agent();
    let words = ["deploy", "here", "new.img", "--to", "testboot"];
    let refused = bench.lab.pumice(&words).exits_with(3).err();
    assert!(refused.contains("the partition testboot ("), "{refused}");
    assert!(
        refused.contains("is mounted on the board") && refused.contains("unmount it"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(&mounted).unwrap().count(), 0);
    bench.holds(&old);
    let records = fs::read_dir(bench.lab.path("store/boards/here")).unwrap();
    let records: Vec<_> = records.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(records, ["testrootfs.json"]);
}

#[test]
fn a_forecast_writes_nothing() {
    let bench = Bench::new();
    let (old, _) = versions();
    bench.lab.write("old.img", &old);
    let before = bench.disk();
    let output = bench.lab.pumice(&["deploy", "here", "old.img", "--dry-run", "--json"]);
    let forecast = json(&output.exits_with(0));
    assert!(bench.disk() == before, "nothing was written");
    let deployed = bench.deploy("old.img");
    assert_eq!((&forecast["plans"], &forecast["bytes"]), (&0.into(), &deployed["bytes"]));
    assert_eq!(forecast["plan_bytes"], deployed["plan_bytes"]);
    let told = bench.lab.pumice(&["deploy", "here", "old.img", "-n"]).exits_with(0).out();
    assert!(told.starts_with("testrootfs would become old.img: "), "{told}");
}

#[test]
fn a_deploy_that_is_cut_is_planned_again_from_what_is_there() {
    let mut bench = Bench::new();
    let (old, new) = versions();
    bench.lab.write("old.img", &old);
    bench.lab.write("new.img", &new);
    for (image, after) in [("old.img", 1_000_000), ("old.img", 3_000_000), ("new.img", 100_000)] {
        let before = bench.line.bytes_to_board();
        let deploying = bench.lab.start(&["deploy", "here", image]);
        bench.wait_for_bytes(before + after);
        // The dispatcher dies in the middle, and the agent with it.
        deploying.signal(Signal::SIGKILL);
        deploying.wait().exits_with(137);
        bench.start_agent();
    }
    bench.deploy("new.img");
    bench.holds(&new);
    let held = fs::read_to_string(bench.lab.path("store/boards/here/testrootfs.json")).unwrap();
    assert!(!held.contains("begun"), "{held}");
}

/// Whoever lost nothing but its session goes on in the same command.
#[test]
fn an_agent_that_comes_back_gets_a_new_plan_in_the_same_command() {
    let bench = Bench::new();
    let (old, _) = versions();
    bench.lab.write("old.img", &old);
    let before = bench.line.bytes_to_board();
    let deploying = bench.lab.start(&["deploy", "here", "old.img", "--json"]);
    bench.wait_for_bytes(before + 1_000_000);
    // A session ends after 6.5 s of silence.
    let agent = bench.agent.as_ref().unwrap();
    agent.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(10));
    agent.signal(Signal::SIGCONT);
    let output = deploying.wait().exits_with(0).says("planning again from what is there");
    let deployed = json(&output);
    bench.holds(&old);
    assert_eq!(number(&deployed, "plans"), 2);
    assert!(number(&deployed["bytes"], "kept") > 0, "what was written is not sent again");
}
