//! The helpers of tests with the real agent on a pseudo-terminal: each under its own name, as a test calls it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::Noise;
use e2e::line::Line;
use e2e::program::{Running, built};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A suite, and what it left.
struct Suite {
    folder: PathBuf,
    index: usize,
    journal: Vec<Value>,
    files: &'static BTreeMap<PathBuf, Vec<u8>>,
}

/// All suites are run by one agent, one after the other: the first of them waits 15 s for somebody to watch.
fn suite(name: &str) -> Suite {
    static KEPT: OnceLock<(PathBuf, BTreeMap<PathBuf, Vec<u8>>)> = OnceLock::new();
    let (root, files) = KEPT.get_or_init(|| {
        let bench = Bench::start(SUITES);
        bench.wait_for("\"plan_ended\"");
        let mode = fs::metadata(bench.folder().join("socket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "every user of the board may tell");
        let mut files = BTreeMap::new();
        read_all(&bench.folder(), &mut files);
        (bench.line.root(), files)
    });
    let index = SUITES.iter().position(|(known, _)| *known == name).expect("a suite");
    let folder = root.join(RUN);
    let journal = String::from_utf8(files[&folder.join("journal.ndjson")].clone()).unwrap();
    let journal: Vec<Value> =
        journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut signals = (1_u64..).zip(journal.iter().filter(|line| line["event"] == "signal"));
    assert!(signals.all(|(number, line)| line["n"] == number), "counted over the whole plan");
    Suite { folder, index, journal, files }
}

impl Suite {
    /// Its directory on the board.
    fn directory(&self) -> PathBuf {
        self.folder.join("tests").join(SUITES[self.index].0)
    }

    fn signals(&self) -> Vec<&Value> {
        let is_own = |line: &&Value| line["event"] == "signal" && line["test"] == self.index;
        self.journal.iter().filter(is_own).collect()
    }

    fn briefs(&self) -> Vec<String> {
        self.signals().into_iter().map(brief).collect()
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(self.files[&self.directory().join(name)].clone()).unwrap()
    }

    /// How it ended.
    fn end(&self) -> (&str, u64) {
        let is_end = |line: &&Value| line["event"] == "test_ended" && line["test"] == self.index;
        let line = self.journal.iter().find(is_end).expect("it has ended");
        (line["end"].as_str().unwrap(), line["code"].as_u64().unwrap())
    }
}

/// An agent with a plan of its own, which nobody watches.
struct Bench {
    line: Line,
    agent: Running,
}

const RUN: &str = ".pumice/runs/r1";

impl Bench {
    /// Starts a plan with these suites and their `run.sh`.
    fn start(suites: &[(&str, &str)]) -> Self {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let run = line.root().join(RUN);
        for (name, script) in suites {
            let folder = run.join("tests").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("run.sh"), script).unwrap();
        }
        fs::write(run.join("plan"), plan(suites.iter().map(|(name, _)| *name))).unwrap();
        let agent = line.agent(&["--run", "r1"]);
        Self { line, agent }
    }

    fn folder(&self) -> PathBuf {
        self.line.root().join(RUN)
    }

    fn wait_for(&self, text: &str) {
        let journal = self.folder().join("journal.ndjson");
        wait_until(|| fs::read_to_string(&journal).is_ok_and(|journal| journal.contains(text)));
    }
}

/// Waits for something that another process does, up to a limit that only a hang reaches.
fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("still not so after ten minutes");
}

fn read_all(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            read_all(&path, files);
        } else if kind.is_file() {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

/// A plan as docs/protocol.md has it: 600 s a test, 5 s a step.
fn plan<'n>(suites: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let counted = |item: Vec<u8>| [&(item.len() as u16).to_le_bytes()[..], &item].concat();
    let mut plan = counted([&[2][..], b"r1", &[0]].concat());
    for suite in suites {
        // The varints of 600 000 and 5000, and no flags.
        let numbers = [0xC0, 0xCF, 0x24, 0x88, 0x27, 0];
        plan.extend(counted([&[suite.len() as u8], suite.as_bytes(), &numbers].concat()));
    }
    plan
}

/// Their names and scripts.
const SUITES: &[(&str, &str)] = &[
    (
        "helpers",
        r#"
pumice-step 1
lava-test-case plain --result pass
lava-test-case measured --measurement -1.5e3 --units MB/s --result skip
lava-test-set start "a set"
lava-test-case quoted --shell 'echo "$TEST_CASE_ID"; exit 3'
lava-test-case words --shell printf '%s|' 'two words' '*'
lava-test-case killed --shell 'kill -9 $$'
lava-test-case 'na"me \' --result unknown
lava-test-set stop
lava-test-case missing --shell no-such-program
lava-test-reference ref --result fail --reference https://example.com/x
lava-test-event "an event"
lava-test-feedback --namespace other
printf 'of a file\n' >file
lava-test-case shown --output file --result pass
pumice-step 2
lava-test-raise it is over || echo status $?
"#,
    ),
    (
        "bytes", // 60 000 bytes: nearly all that a pipe holds, so that much is still in it when the helper comes.
        r#"
i=0
while [ $i -lt 30 ]; do
    echo "before $i"; echo "error before $i" >&2
    lava-test-case "case $i" --shell "head -c 60000 /dev/zero | tr '\\0' x; echo; echo 'in $i' >&2"
    i=$((i + 1))
done
echo after
"#,
    ),
    (
        "environment",
        r#"
for v in PUMICE_RUN PUMICE_SUITE TESTRUN_ID LAVA_RESULT_DIR PUMICE_SOCKET PATH; do eval "echo \$$v"; done
pwd
command -v lava-sync
"#,
    ),
    (
        "bad-words",
        r#"
set +e
try() { "$@" >/dev/null 2>said; echo "$? $(head -n 1 said)"; }
try lava-test-case
try lava-test-case a
try lava-test-case a --result perhaps
try lava-test-case a --result pass --measurement fast
try lava-test-case a --shell
try lava-test-case a --result pass --output /no/such/file
try lava-test-case "$(printf 'two\nlines')" --result pass
try lava-test-set begin
try lava-test-reference a --result pass
try lava-test-raise
try lava-test-event
try lava-test-feedback x
try pumice-step 0
try lava-background-process-start a
try lava-background-process-stop never-started
try lava-test-case-attach a
try lava-test-case-attach a /no/such/file
try lava-sync x
"#,
    ),
    (
        "attachments",
        r#"
mkdir -p d/sub; echo 1 >d/one; echo 2 >d/sub/two; ln -s /etc/passwd d/link; echo x >"a file"
lava-test-case-attach ../evil "a file" text/plain
lava-test-case-attach ../evil "a file"
lava-test-case-attach dir d
lava-test-run-attach d/one
"#,
    ),
    (
        "background",
        r#"
lava-background-process-start top --cmd 'echo tick >>ticks; exec sleep 1000 >/dev/null 2>&1'
lava-background-process-start mem --cmd "echo again >>agains" 
until [ -s ticks ] && [ "$(grep -c again agains)" -ge 2 ]; do sleep 0.1; done
lava-background-process-stop top --attach ticks text/plain
lava-background-process-stop mem
n=$(grep -c again agains); sleep 1.5; [ "$n" = "$(grep -c again agains)" ] && echo stopped
"#,
    ),
    (
        "system",
        r#"
lava-os-build; lava-self; lava-echo-ipv4 lo
TARGET_DEVICE_IP=10.1.2.3 lava-target-ip; TARGET_DEVICE_MAC=02:00:00:00:00:01 lava-target-mac
export LAVA_STORAGE='\tUMS\t/dev/disk/by-id/usb\n\tSATA\t/dev/sdb\n'
lava-target-storage SATA; echo; lava-target-storage USB || echo none
PROBE_DEVICE_IP=10.1.2.4 lava-probe-ip
"#,
    ),
    ("steps", "pumice-step 1\nsleep 1\npumice-step 2\nsleep 1000\n"),
    (
        "crowd", // Each of the idle ones holds a place until another one needs it.
        r#"
cat >idle.py <<'END'
import os, socket, time
os.chdir(os.path.dirname(os.environ["PUMICE_SOCKET"]))
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("socket")
time.sleep(1000)
END
i=0; while [ $i -lt 20 ]; do python3 idle.py >/dev/null 2>&1 & idle="$idle $!"; i=$((i + 1)); done
sleep 0.5
i=0; while [ $i -lt 20 ]; do lava-test-case "case $i" --result pass & pids="$pids $!"; i=$((i + 1)); done
for pid in $pids; do wait $pid; done
kill $idle
echo all
"#,
    ),
    (
        "garbage",
        r#"
python3 - <<'END'
import os, random, socket
os.chdir(os.path.dirname(os.environ["PUMICE_SOCKET"]))
random.seed(7)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("socket")
for length in [1, 2, 7, 80, 496, 497, 5000]:
    s.send(bytes([200]) + random.randbytes(length - 1))
    assert s.recv(9) == bytes([22]), length
END
lava-test-case good --result pass
"#,
    ),
];

fn brief(signal: &Value) -> String {
    let mut words = vec![signal["kind"].as_str().unwrap().to_owned()];
    for key in ["set", "name", "result", "measurement", "units", "text", "step", "end", "code"] {
        match &signal[key] {
            Value::Null => {}
            Value::String(text) => words.push(text.clone()),
            other => words.push(other.to_string()),
        }
    }
    words.join("|")
}

#[test]
fn every_helper_tells_what_it_should() {
    let suite = suite("helpers");
    let signals = suite.signals();
    assert_eq!(
        suite.briefs(),
        [
            "step|1",
            "case_ended|plain|pass",
            "case_ended|measured|skip|-1.5e3|MB/s",
            "set_started|a set",
            "case_started|a set|quoted",
            "case_ended|a set|quoted|fail|exited|3",
            "case_started|a set|words",
            "case_ended|a set|words|pass|exited|0",
            "case_started|a set|killed",
            "case_ended|a set|killed|fail|signaled|9",
            "case_ended|a set|na\"me \\|unknown",
            "set_ended|a set",
            "case_started|missing",
            "case_ended|missing|fail|exited|127",
            "reference|ref|fail|https://example.com/x",
            "event|an event",
            "feedback|other",
            "case_started|shown",
            "case_ended|shown|pass",
            "step|2",
            "raise|it is over",
        ]
    );
    assert_eq!(suite.read("stdout.log"), "quoted\ntwo words|*|of a file\nstatus 1\n");
    assert_eq!(suite.end(), ("exited", 0));
    let quoted = &signals[5];
    assert!(
        quoted["elapsed_us"].as_u64() > Some(0) && quoted["max_rss_kib"].as_u64() > Some(0),
        "{quoted}"
    );
    assert!(signals[1]["elapsed_us"].is_null(), "a case without a command used nothing");
}

#[test]
fn the_bytes_of_a_case_are_those_between_its_signals() {
    let suite = suite("bytes");
    let (stdout, stderr) = (suite.read("stdout.log"), suite.read("stderr.log"));
    let signals = suite.signals();
    assert_eq!(signals.len(), 60);
    let at = |signal: &Value, key: &str| usize::try_from(signal[key].as_u64().unwrap()).unwrap();
    let mut end = 0;
    for (index, pair) in signals.chunks(2).enumerate() {
        let (from, to) = (at(pair[0], "stdout_bytes"), at(pair[1], "stdout_bytes"));
        assert_eq!(&stdout[end..from], format!("before {index}\n"));
        assert_eq!(&stdout[from..to], "x".repeat(60_000) + "\n");
        end = to;
        let (from, to) = (at(pair[0], "stderr_bytes"), at(pair[1], "stderr_bytes"));
        assert_eq!(&stderr[from..to], format!("in {index}\n"));
    }
    assert_eq!(&stdout[end..], "after\n");
}

#[test]
fn a_test_finds_the_environment_of_lava() {
    let suite = suite("environment");
    let (folder, directory) =
        (suite.folder.display().to_string(), suite.directory().display().to_string());
    let out = suite.read("stdout.log");
    let lines: Vec<_> = out.lines().collect();
    let bin = folder.replace("runs/r1", "bin");
    assert_eq!(
        lines[..5],
        ["r1", "environment", "environment", &directory, &format!("{folder}/socket")]
    );
    assert!(lines[5].starts_with(&format!("{bin}:")), "{}", lines[5]);
    assert_eq!(lines[6..], [directory.as_str(), &format!("{bin}/lava-sync")]);
}

#[test]
fn bad_words_are_refused_and_leave_nothing() {
    let suite = suite("bad-words");
    let out = suite.read("stdout.log");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 18, "{out}");
    let bad = "2 lava-test-case: a name has 1 to 128 bytes";
    for (index, start) in [
        (0, "1 usage: lava-test-case ID --shell"),
        (1, "1 usage"),
        (2, "1 usage"),
        (3, bad),
        (4, "1 usage"),
        (5, "2 lava-test-case: /no/such/file: errno 2"),
        (6, bad),
        (7, "1 usage: lava-test-set start"),
        (8, "1 usage"),
        (9, "1 usage"),
        (10, "1 usage"),
        (11, "1 usage"),
        (12, "1 usage"),
        (13, "1 usage"),
        (14, "2 lava-background-process-stop: no such process"),
        (15, "1 usage"),
        (16, "2 lava-test-case-attach: /no/such/file: errno 2"),
        (17, "1 this is no MultiNode job"),
    ] {
        assert!(lines[index].starts_with(start), "{index}: {}", lines[index]);
    }
    assert_eq!(suite.signals(), Vec::<&Value>::new());
}

#[test]
fn attachments_are_copies_under_names_that_are_fit_for_a_path() {
    let suite = suite("attachments");
    let mut shown = suite.briefs();
    shown[2..4].sort();
    assert_eq!(
        shown,
        [
            "attachment|../evil|_.._evil/a_file",
            "attachment|../evil|_.._evil/a_file.2",
            "attachment|dir|dir/d/one",
            "attachment|dir|dir/d/sub/two",
            "attachment|_/one",
        ]
    );
    let read = |name: &str| suite.read(&format!("attachments/{name}"));
    assert_eq!(
        (read("_.._evil/a_file.2"), read("dir/d/sub/two"), read("_/one")),
        ("x\n".into(), "2\n".into(), "1\n".into())
    );
    let link = suite.directory().join("attachments/dir/d/link");
    assert!(!suite.files.contains_key(&link), "links are not followed");
}

#[test]
fn a_process_in_the_background_runs_until_it_is_stopped() {
    let suite = suite("background");
    assert_eq!(suite.read("stdout.log"), "stopped\n");
    assert_eq!(suite.briefs(), ["attachment|top|top/ticks"]);
    assert_eq!(suite.read("ticks"), "tick\n", "it went on, so it ran once");
}

#[test]
fn helpers_ask_the_system() {
    let suite = suite("system");
    let out = suite.read("stdout.log");
    let lines: Vec<_> = out.lines().collect();
    assert!(!lines[0].is_empty() && !lines[1].is_empty(), "{out}");
    assert_eq!(
        lines[2..],
        ["127.0.0.1", "10.1.2.3", "02:00:00:00:00:01", "/dev/sdb", "none", "10.1.2.4"]
    );
}

#[test]
fn a_step_that_takes_too_long_is_named_as_the_cause() {
    let suite = suite("steps");
    assert_eq!(suite.end().0, "step_timed_out");
}

#[test]
fn twenty_helpers_at_once_and_as_many_that_say_nothing() {
    let suite = suite("crowd");
    let mut names = suite.briefs();
    names.sort();
    let mut expected: Vec<_> =
        (0..20).map(|index| format!("case_ended|case {index}|pass")).collect();
    expected.sort();
    assert_eq!((names, suite.read("stdout.log")), (expected, "all\n".into()));
}

#[test]
fn garbage_on_the_socket_is_refused() {
    let suite = suite("garbage");
    assert_eq!(suite.end(), ("exited", 0), "{}", suite.read("stderr.log"));
    assert_eq!(suite.briefs(), ["case_ended|good|pass"]);
}

#[test]
fn a_helper_whose_agent_was_killed_says_so() {
    // What the test leaves in the background outlives it and its agent here, where nobody starts that anew.
    // It is there before the agent hears of the first case, and is killed.
    let script = "set +e\n(until [ -e go ]; do sleep 0.05; done\n\
                  lava-test-case late --result pass >said 2>&1; echo $? >status.new; mv status.new status) &\n\
                  lava-test-case first --result pass\nwait\n";
    let bench = Bench::start(&[("late", script)]);
    bench.wait_for("first");
    bench.agent.signal(Signal::SIGKILL);
    let suite = bench.folder().join("tests/late");
    let Bench { line, agent } = bench;
    agent.wait();
    fs::write(suite.join("go"), "").unwrap();
    wait_until(|| suite.join("status").exists());
    let said = fs::read_to_string(suite.join("said")).unwrap();
    assert!(said.starts_with("lava-test-case: there is no agent"), "{said}");
    assert_eq!(fs::read_to_string(suite.join("status")).unwrap(), "2\n");
    drop(line);
}

#[test]
fn by_hand_a_helper_prints_what_lavas_would() {
    let folder = tempfile::tempdir().unwrap();
    let call = |name: &str, words: &[&str]| {
        let link: &Path = &folder.path().join(name);
        let _ = std::os::unix::fs::symlink(built("pumice-agent"), link);
        let output = Command::new(link).args(words).env_remove("PUMICE_SOCKET").output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(name == "lava-test-raise")), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        call("lava-test-case", &["a", "--shell", "echo", "b c"]),
        "<LAVA_SIGNAL_STARTTC a>\nb c\n<LAVA_SIGNAL_ENDTC a>\n<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=pass>\n"
    );
    assert_eq!(
        call("lava-test-case", &["a", "--units", "s", "--measurement", "1", "--result", "fail"]),
        "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=fail UNITS=s MEASUREMENT=1>\n"
    );
    assert_eq!(call("lava-test-set", &["start", "s"]), "<LAVA_SIGNAL_TESTSET START s>\n");
    assert_eq!(call("lava-test-set", &["stop"]), "<LAVA_SIGNAL_TESTSET STOP>\n");
    assert_eq!(call("lava-test-raise", &["no", "way"]), "<LAVA_SIGNAL_TESTRAISE no way>\n");
    assert_eq!(call("pumice-step", &["1"]), "");
}
