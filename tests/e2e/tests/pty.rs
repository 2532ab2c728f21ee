//! The real agent on a pseudo-terminal, with hands on it as a user has them. No boot loader, no emulator: seconds.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use e2e::line::Line;
use e2e::program::{Running, is_alive};
use e2e::{Lab, Noise, Output, random};
use nix::sys::signal::Signal;
use nix::sys::termios::BaudRate;

/// A line, an agent at its end, and a lab with it as the board `here`.
struct Bench {
    lab: Lab,
    line: Line,
    agent: Running,
}

impl Bench {
    fn new() -> Self {
        Self::on(Line::with_socket(Noise::default(), Noise::default()), &[])
    }

    fn on(line: Line, words: &[&str]) -> Self {
        let agent = line.agent(words);
        Self { lab: Lab::on_line(line.connection()), line, agent }
    }

    /// With a partition that is a file of this size, and what is in it.
    fn with_partition(bytes: usize) -> (Self, Vec<u8>) {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let content = vec![0xAA; bytes];
        let file = line.root().join("partition");
        fs::write(&file, &content).unwrap();
        let bench = Self::on(line, &["--partition", &format!("testrootfs={}", file.display())]);
        (bench, content)
    }

    fn partition(&self) -> Vec<u8> {
        fs::read(self.line.root().join("partition")).unwrap()
    }

    /// A `sh -c` on the board.
    fn shell(&self, text: &str) -> Output {
        self.lab.pumice(&["exec", "here", "--", "sh", "-c", text])
    }

    /// A path on the board.
    fn on_board(&self, name: &str) -> String {
        self.line.root().join(name).display().to_string()
    }
}

#[test]
fn exec_keeps_streams_and_status_apart() {
    let bench = Bench::new();
    let output = bench.shell("echo to stdout; echo to stderr >&2; exit 7").exits_with(7);
    assert_eq!(output.out(), "to stdout\n");
    let err = output.says("to stderr\n").err();
    assert!(!err.contains("to stdout"), "{err}");
    let killed = bench.shell("kill -9 $$").exits_with(128 + 9);
    assert_eq!(killed.out(), "");
}

#[test]
fn exec_passes_words_folder_and_variables_as_they_are() {
    let bench = Bench::new();
    let words = ["exec", "here", "--cwd", "/proc/self", "--env", "A=b = c", "--env", "E="];
    let command = ["--", "sh", "-c", r#"echo "$A|$E|$1|$2"; pwd -P"#, "sh", "two words", "*"];
    let words: Vec<&str> = words.iter().chain(&command).copied().collect();
    let output = bench.lab.pumice(&words).exits_with(0);
    let out = output.out();
    assert!(out.starts_with("b = c||two words|*\n/proc/"), "{out}");
}

#[test]
fn exec_passes_standard_input_byte_by_byte() {
    let bench = Bench::new();
    let input: Vec<u8> = (0..100_000_u32).map(|n| (n ^ n >> 7) as u8).collect();
    let output = bench.lab.start_with(&["exec", "here", "--", "cat"], Some(input.clone())).wait();
    assert!(output.exits_with(0).stdout == input, "cat gives back what it got");
    // Without any input a reader sees the end at once.
    assert_eq!(bench.shell("wc -c").exits_with(0).out().trim(), "0");
}

#[test]
fn ctrl_c_reaches_the_command() {
    let bench = Bench::new();
    let script = "trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.05; done";
    let command = bench.lab.start(&["exec", "here", "--", "sh", "-c", script]);
    command.wait_for_stdout("ready");
    command.signal(Signal::SIGINT);
    let output = command.wait().exits_with(42);
    assert_eq!(output.out(), "ready\ninterrupted\n");
}

#[test]
fn a_third_ctrl_c_kills_the_command() {
    let bench = Bench::new();
    let script = "trap 'echo no' INT; echo $$; while :; do sleep 0.05; done";
    let command = bench.lab.start(&["exec", "here", "--", "sh", "-c", script]);
    command.wait_for_stdout("\n");
    for count in 1..=3 {
        command.signal(Signal::SIGINT);
        if count < 3 {
            command.wait_for_stdout(&"no\n".repeat(count));
        }
    }
    let output = command.wait().exits_with(128 + 9);
    let pid = output.out().lines().next().unwrap().parse().unwrap();
    assert!(!is_alive(pid), "the command is gone");
}

#[test]
fn a_timeout_kills_the_process_group() {
    let bench = Bench::new();
    let script = "sleep 1000 & echo $!; trap '' TERM INT; wait; sleep 1000";
    let output = bench
        .lab
        .pumice(&["exec", "here", "--timeout", "1s", "--", "sh", "-c", script])
        .exits_with(4)
        .says("pumice: Timeout: sh was killed at its timeout");
    let background = output.out().trim().parse().unwrap();
    assert!(!is_alive(background), "what it started in the background is gone too");
}

#[test]
fn a_missing_program_is_named() {
    let bench = Bench::new();
    let output = bench.lab.pumice(&["exec", "here", "--", "/no/such/program"]).exits_with(2);
    assert_eq!(
        errors(&output),
        ["pumice: JobError: /no/such/program: not found (No such file or directory)"]
    );
    let words = ["exec", "here", "--cwd", "/no/such/folder", "--", "true"];
    bench.lab.pumice(&words).exits_with(2).says("/no/such/folder");
}

#[test]
fn files_go_there_and_back_with_content_and_mode() {
    let bench = Bench::new();
    let content = random(200_000, 1);
    let local = bench.lab.write("there", &content);
    fs::set_permissions(&local, fs::Permissions::from_mode(0o750)).unwrap();
    let remote = bench.on_board("file");
    bench.lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
    assert!(fs::read(&remote).unwrap() == content, "it is there as it was");
    assert_eq!(fs::metadata(&remote).unwrap().permissions().mode() & 0o7777, 0o750);

    bench.lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
    assert!(fs::read(bench.lab.path("back")).unwrap() == content, "it is back as it was");
    // Into a folder: under the same name.
    fs::create_dir(bench.lab.path("folder")).unwrap();
    bench.lab.pumice(&["pull", "here", &remote, "folder"]).exits_with(0);
    assert!(fs::read(bench.lab.path("folder/file")).unwrap() == content);

    bench.lab.write("empty", "");
    bench.lab.pumice(&["push", "here", "empty", &remote]).exits_with(0);
    assert_eq!(fs::read(&remote).unwrap(), b"", "an empty file replaces a full one");
    bench.lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
    assert_eq!(fs::read(bench.lab.path("back")).unwrap(), b"");
}

#[test]
fn a_push_sends_what_the_older_file_lacks() {
    let bench = Bench::new();
    let remote = bench.on_board("app");
    let push = |content: &[u8]| {
        let local = bench.lab.write("app", content);
        fs::set_permissions(&local, fs::Permissions::from_mode(0o755)).unwrap();
        let output = bench.lab.pumice(&["push", "here", "app", &remote, "--json"]).exits_with(0);
        assert!(fs::read(&remote).unwrap() == content, "it is there as it was");
        assert_eq!(fs::metadata(&remote).unwrap().permissions().mode() & 0o7777, 0o755);
        let pushed: serde_json::Value = serde_json::from_str(&output.out()).unwrap();
        assert_eq!(pushed["target"], remote.as_str());
        pushed["line_bytes_out"].as_u64().unwrap()
    };
    // As text, not as an image: a packed file stays one.
    let first = [&b"\x1f\x8b\x08"[..], &random(300_000, 1)].concat();
    assert!(push(&first) > 300_000);
    assert!(push(&first) < 2_000, "it is there already");
    let mut second = first.clone();
    second[150_000..150_004].copy_from_slice(b"here");
    assert!(push(&second) < 3_000, "a block of it is another");
    second.splice(70_000..70_000, *b"and here something is put in");
    assert!(push(&second) < 6_000, "all behind it is shifted");
    second.truncate(100_000);
    assert!(push(&second) < 6_000, "it is shorter");
    // What the dispatcher never sent: the board's hashes tell what of it can be used.
    second.truncate(80_000);
    fs::write(&remote, [&second[..40_960], &random(90_000, 2)].concat()).unwrap();
    assert!(push(&second) < 45_000);
    let images = bench.lab.pumice(&["images"]).exits_with(0).out();
    assert_eq!(images.matches("/app\n").count(), 5, "each is kept for the next: {images}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let bench = Bench::new();
    let missing = bench.on_board("missing");
    let output = bench.lab.pumice(&["pull", "here", &missing, "back"]).exits_with(2);
    assert_eq!(
        errors(&output),
        [format!("pumice: JobError: {missing}: not found (No such file or directory)")]
    );
    assert!(nothing_like(&bench.lab, "back"), "nothing is left behind");
    let folder = bench.on_board("");
    bench.lab.pumice(&["pull", "here", &folder, "back"]).exits_with(2).says("not a regular file");
    assert!(nothing_like(&bench.lab, "back"), "nothing is left behind");

    bench.lab.write("there", "x");
    let below_a_file = bench.on_board("file/below");
    fs::write(bench.on_board("file"), "").unwrap();
    let words = ["push", "here", "there", &below_a_file];
    assert_ne!(bench.lab.pumice(&words).says(&bench.on_board("file")).status, 0);
    let output = bench.lab.pumice(&["push", "here", "missing", "/tmp/x"]).exits_with(2);
    assert!(errors(&output)[0].contains("missing: No such file or directory"), "{output:?}");
}

#[test]
fn a_deployed_image_is_on_the_partition_and_nothing_else() {
    let (bench, before) = Bench::with_partition(1 << 20);
    // Data, a hole, zeros that are written, data, and no whole number of blocks.
    let mut image = vec![0; 700_001];
    image[..150_000].copy_from_slice(&random(150_000, 2));
    image[500_000..500_500].copy_from_slice(&random(500, 3));
    image[700_000] = 7;
    let path = bench.lab.path("image");
    let file = fs::File::create(&path).unwrap();
    for part in [0..200_000, 450_000..700_001] {
        file.write_all_at(&image[part.clone()], part.start as u64).unwrap();
    }
    let output = bench.lab.pumice(&["deploy", "here", "image", "--json"]).exits_with(0);
    let deployed: serde_json::Value = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(
        (&deployed["target"], &deployed["image_bytes"]),
        (&"testrootfs".into(), &700_001.into())
    );
    assert!(deployed["plan_bytes"].as_u64().unwrap() < 200_000, "zeros are not sent: {deployed}");
    let after = bench.partition();
    assert!(after[..image.len()] == image, "the partition begins with the image");
    assert!(after[image.len()..] == before[image.len()..], "and is as it was behind it");
}

#[test]
fn an_image_that_does_not_fit_is_refused_before_a_byte_is_written() {
    let (bench, before) = Bench::with_partition(1 << 20);
    let file = fs::File::create(bench.lab.path("sparse")).unwrap();
    file.set_len(3 << 30).unwrap();
    bench.lab.write("one-more", random((1 << 20) + 1, 4));
    let zeros = Running::start(
        Path::new("gzip"),
        &["-1", "-c"],
        bench.lab.folder(),
        &[],
        Some(vec![0; 1_500_000]),
    );
    bench.lab.write("packed.gz", zeros.wait().exits_with(0).stdout);
    for (image, bytes) in
        [("sparse", 3_u64 << 30), ("one-more", (1 << 20) + 1), ("packed.gz", 1_500_000)]
    {
        let output = bench.lab.pumice(&["deploy", "here", image]).exits_with(2);
        let refusal = errors(&output).join("\n");
        let expected =
            format!("pumice: JobError: {image} has {bytes} bytes, and the partition testrootfs (");
        assert!(refusal.starts_with(&expected), "{refusal}");
        assert!(
            refusal.ends_with(") has 1048576: make the image smaller or the partition larger"),
            "{refusal}"
        );
        assert!(bench.partition() == before, "{image}: the partition is as it was");
    }
    // What fits exactly is taken.
    bench.lab.write("exact", random(1 << 20, 5));
    bench.lab.pumice(&["deploy", "here", "exact"]).exits_with(0);
    assert!(bench.partition() == random(1 << 20, 5));
}

#[test]
fn images_that_cannot_be_used_are_named() {
    let (bench, before) = Bench::with_partition(1 << 20);
    bench.lab.write("empty", "");
    bench
        .lab
        .write("broken.gz", [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &random(5000, 6)].concat());
    for (image, text) in [
        ("missing", "the image missing is missing"),
        ("empty", "empty is empty"),
        ("broken.gz", "broken.gz: damaged or cut short gzip data"),
    ] {
        bench.lab.pumice(&["deploy", "here", image]).exits_with(2).says(text);
    }
    bench.lab.write("good", "x");
    let words = ["deploy", "here", "good", "--partition", "testboot"];
    bench.lab.pumice(&words).exits_with(2).says("testboot: not found");
    assert!(bench.partition() == before, "the partition is as it was");
}

#[test]
fn info_tells_who_is_there() {
    let (bench, _) = Bench::with_partition(4096);
    let output = bench.lab.pumice(&["info", "here", "--json"]).exits_with(0);
    let info: serde_json::Value = serde_json::from_str(&output.out()).unwrap();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(info["kernel"].as_str().unwrap().contains(kernel.trim()), "{info:#}");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!((&info["board"], &info["board_type"]), (&"here".into(), &"generic".into()));
    assert_eq!((&info["role"], &info["boot_id"]), (&"master".into(), &boot_id.trim().into()));
    let partitions = info["partitions"].as_array().unwrap();
    assert!(partitions.contains(&"testrootfs".into()), "{info:#}");
    assert!(info["memory_kib"].as_u64().unwrap() > 0, "{info:#}");
    let table = bench.lab.pumice(&["info", "here"]).exits_with(0).out();
    assert!(table.starts_with("board       here (generic)\n"), "{table}");
    // Both ends of the line.
    let line = &info["line"];
    assert_eq!(
        (&line["verdict"], &line["agents"][0]["role"]),
        (&"too_little".into(), &"master".into())
    );
    assert!(line["agents"][0]["frames_in"].as_u64() > Some(0), "{line:#}");
    assert!(table.contains("\nline        nothing wrong in the few frames so far"), "{table}");
}

#[test]
fn line_test_measures_a_line() {
    let bench = Bench::on(Line::with_terminals(), &[]);
    let table = bench.lab.pumice(&["line-test", "here", "--seconds", "2"]).exits_with(0).out();
    assert!(table.starts_with("board            here (generic)\n"), "{table}");
    for row in ["goodput ", "wrong ", "round trip ", "... under load ", "clock ", "verdict "] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}: {table}");
    }
    assert!(table.contains("?baud=115200, 115200 baud\n"), "{table}");

    let noise = Noise { seed: 1, flip_one_in: 3000, ..Noise::default() };
    let text = Noise { seed: 2, flip_one_in: 3000, text_every_bytes: 700, ..Noise::default() };
    let bench = Bench::on(Line::with_socket(noise, text), &[]);
    let words = ["line-test", "here", "--seconds", "2", "--json"];
    let output = bench.lab.pumice(&words).exits_with(0).out();
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["is_complete"], true, "{report:#}");
    assert_eq!(report["line_rate_baud"], serde_json::Value::Null, "{report:#}");
    for direction in ["to_board", "from_board"] {
        let direction = &report[direction];
        assert!(direction["goodput_bytes_per_second"].as_f64().unwrap() > 0.0, "{report:#}");
        assert!(direction["bytes"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(direction["wrong_bytes"], 0, "{report:#}");
    }
    assert!(report["from_board"]["damaged_frames"].as_u64().unwrap() > 0, "{report:#}");
    assert!(report["to_board"]["retransmits"].as_u64().unwrap() > 0, "{report:#}");
    assert!(report["console_bytes"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(report["round_trip_idle"]["count"], 20, "{report:#}");
    assert!(report["verdict"].as_str().unwrap().starts_with("noisy"), "{report:#}");
}

#[test]
fn ctrl_c_ends_a_line_test_with_what_it_has() {
    let bench = Bench::new();
    let test = bench.lab.start(&["line-test", "here", "--seconds", "3600"]);
    wait_until(|| bench.line.bytes_to_board() > 100_000);
    test.signal(Signal::SIGINT);
    let output = test.wait().exits_with(130);
    assert!(output.out().contains("(not complete)"), "{output:?}");
    assert_eq!(errors(&output), ["pumice: Canceled: canceled by the user"]);
    bench.lab.pumice(&["line-test", "here", "--seconds", "2"]).exits_with(0);
}

#[test]
fn every_way_to_a_line_carries_commands() {
    let bench = Bench::on(Line::with_terminals(), &[]);
    assert!(bench.line.connection().starts_with("serial:/dev/pts/"));
    // Twice: what the first left on the line must not disturb the second.
    for _ in 0..2 {
        assert_eq!(bench.shell("echo hello").exits_with(0).out(), "hello\n");
    }
    // Binary, on a line that carries nothing else.
    let line = Line::with_socket(Noise::default(), Noise::default());
    let mut bench = Bench::on(line, &["--coding", "binary"]);
    bench.lab = Lab::new(&format!(
        "board_types: types\nboards:\n - {{name: here, type: wire, connection: \"{}\"}}\n",
        bench.line.connection()
    ));
    fs::create_dir(bench.lab.path("types")).unwrap();
    bench.lab.write("types/wire.yaml", "name: wire\nline: {coding: binary}\n");
    let content = random(100_000, 7);
    bench.lab.write("there", &content);
    let remote = bench.on_board("file");
    bench.lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
    bench.lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
    assert!(fs::read(bench.lab.path("back")).unwrap() == content);
}

#[test]
fn a_session_has_another_speed_and_both_ends_change_to_it() {
    let mut bench = Bench::on(Line::with_terminals(), &["--baud", "115200"]);
    let connection = format!("{}&session_baud=921600", bench.line.connection());
    bench.lab = Lab::on_line(&connection);
    let running =
        bench.lab.start(&["exec", "here", "--", "sh", "-c", "echo begun; exec sleep 1000"]);
    running.wait_for_stdout("begun");
    assert_eq!(bench.line.speeds(), [BaudRate::B921600; 2]);
    running.signal(Signal::SIGINT);
    let output = running.wait();
    assert!(!output.err().contains("warning"), "{}", output.err());
    // The agent, left alone, is at the base speed again, where the next dispatcher looks for it.
    let info = bench.lab.pumice(&["info", "here", "--json"]).exits_with(0);
    let info: serde_json::Value = serde_json::from_str(&info.out()).unwrap();
    assert_eq!(info["line"]["baud"], 921_600);
    let slow = Lab::on_line(bench.line.connection());
    let info = slow.pumice(&["info", "here"]).exits_with(0).out();
    assert!(info.contains("115200 baud"), "{info}");
    assert_eq!(bench.line.speeds(), [BaudRate::B115200; 2]);
}

#[test]
fn a_board_has_one_user_at_a_time() {
    let bench = Bench::new();
    let first = bench.lab.start(&["exec", "here", "--", "sh", "-c", "echo ready; sleep 1000"]);
    first.wait_for_stdout("ready");
    let pid = first.pid();
    let output = bench.shell("true").exits_with(3);
    let refusal = errors(&output).join("\n");
    assert!(refusal.contains("board here is in use by"), "{refusal}");
    assert!(refusal.contains(&pid.to_string()), "{refusal}");
    drop(first);
    bench.shell("true").exits_with(0);
}

#[test]
fn an_agent_that_never_answers_is_reported() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let lab = Lab::on_line(line.connection());
    let output = lab.pumice(&["exec", "here", "--", "true"]).exits_with(3);
    let refusal = errors(&output).join("\n");
    assert!(refusal.starts_with("pumice: InfrastructureError: "), "{refusal}");
    assert_eq!(line.bytes_to_board(), 0, "nothing is sent to a board that has not spoken");
}

#[test]
fn a_bad_line_loses_nothing() {
    for seed in seeds() {
        eprintln!("again: PUMICE_SEED={seed} cargo test -p e2e --test pty a_bad_line");
        let to_board = Noise { seed, flip_one_in: 3000, drop_one_in: 9000, text_every_bytes: 0 };
        let to_host = Noise {
            seed: seed + 1000,
            flip_one_in: 9000,
            drop_one_in: 3000,
            text_every_bytes: 700,
        };
        let bench = Bench::on(Line::with_socket(to_board, to_host), &[]);
        let content = random(200_000, seed);
        bench.lab.write("there", &content);
        let remote = bench.on_board("file");
        bench.lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
        assert!(fs::read(&remote).unwrap() == content, "seed {seed}: pushed bit by bit");
        bench.lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
        assert!(
            fs::read(bench.lab.path("back")).unwrap() == content,
            "seed {seed}: pulled bit by bit"
        );
        let output = bench.shell("seq 1 2000; seq 1 2000 >&2; exit 3").exits_with(3);
        let numbers: String = (1..=2000).map(|number| format!("{number}\n")).collect();
        assert_eq!(output.out(), numbers, "seed {seed}: text inserted on the line is no output");
        assert!(output.err().contains(&numbers), "seed {seed}");
        assert!(bench.line.inserted().len() > 100, "seed {seed}: the line was bad");
    }
}

#[test]
fn the_console_shows_text_and_no_frames() {
    let noise = Noise { text_every_bytes: 20, ..Noise::default() };
    let bench = Bench::on(Line::with_socket(Noise::default(), noise), &[]);
    let console = bench.lab.start(&["console", "here"]);
    console.wait_for_stdout(" of the kernel\r\n");
    console.signal(Signal::SIGTERM);
    let output = console.wait().exits_with(0);
    // The line counts what it has delivered after that.
    wait_until(|| !bench.line.inserted().is_empty());
    let inserted = bench.line.inserted();
    assert!(output.out().contains(&format!("{}\r\n", inserted[0])), "{output:?}\n{inserted:?}");
    assert_eq!(bench.line.bytes_to_board(), 0, "nobody typed");
}

#[test]
fn an_agent_killed_while_it_receives_leaves_nothing_half() {
    let bench = Bench::new();
    bench.lab.write("there", random(20_000_000, 8));
    let remote = bench.on_board("folder/file");
    fs::create_dir(bench.line.root().join("folder")).unwrap();
    fs::write(&remote, "what was there before").unwrap();
    let push = bench.lab.start(&["push", "here", "there", &remote]);
    wait_until(|| bench.line.bytes_to_board() > 300_000);
    bench.agent.signal(Signal::SIGKILL);
    let output = push.wait().exits_with(3);
    let refusal = errors(&output).join("\n");
    assert!(refusal.starts_with("pumice: InfrastructureError: "), "{refusal}");
    assert_eq!(fs::read_to_string(&remote).unwrap(), "what was there before");
    // Another agent takes over, and the line is as good as before.
    let _next = bench.line.agent(&[]);
    bench.lab.write("there", "short");
    bench.lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
    assert_eq!(fs::read_to_string(&remote).unwrap(), "short");
    let left: Vec<_> = fs::read_dir(bench.line.root().join("folder")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "what the killed agent had begun is gone: {left:?}");
}

#[test]
fn an_agent_killed_while_it_sends_leaves_nothing_half() {
    let bench = Bench::new();
    let remote = bench.on_board("file");
    fs::write(&remote, random(20_000_000, 9)).unwrap();
    let pull = bench.lab.start(&["pull", "here", &remote, "back"]);
    wait_until(|| bench.line.bytes_to_host() > 300_000);
    bench.agent.signal(Signal::SIGKILL);
    let output = pull.wait().exits_with(3);
    let refusal = errors(&output).join("\n");
    assert!(refusal.starts_with("pumice: InfrastructureError: "), "{refusal}");
    assert!(nothing_like(&bench.lab, "back"), "neither the file nor a part of it");
}

#[test]
fn a_killed_dispatcher_leaves_a_line_that_works() {
    let bench = Bench::new();
    let command = bench.lab.start(&["exec", "here", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    command.wait_for_stdout("\n");
    command.signal(Signal::SIGKILL);
    let output = command.wait();
    let pid = output.out().trim().parse().unwrap();
    assert_eq!(bench.shell("echo hello").exits_with(0).out(), "hello\n");
    wait_until(|| !is_alive(pid));
}

/// The lines of standard error that are not of the progress, which begin with a time.
fn errors(output: &Output) -> Vec<String> {
    let err = output.err();
    let lines = err.lines().filter(|line| line.starts_with("pumice: "));
    lines.map(str::to_owned).collect()
}

/// Whether no file of the lab has a name with `part` in it.
fn nothing_like(lab: &Lab, part: &str) -> bool {
    let entries = fs::read_dir(lab.folder()).unwrap().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    !names.iter().any(|name| name.to_string_lossy().contains(part))
}

/// Waits for something that another process does, up to a limit that only a hang reaches.
fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("still not so after a minute");
}

/// `PUMICE_SEED`, or two.
fn seeds() -> Vec<u64> {
    match std::env::var("PUMICE_SEED") {
        Ok(seed) => vec![seed.parse().expect("PUMICE_SEED is a number")],
        Err(_) => vec![1, 2],
    }
}
