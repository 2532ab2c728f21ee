//! Files on their way home, and the sources that stand in them.

use host_dispatcher::script::get::Incoming;
use host_dispatcher::store::names;

use super::*;

fn log_text(lines: usize) -> String {
    (0..lines)
        .map(|line| format!("[{line:5}] the device answered {}\n", line * 7919 % 65_521))
        .collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(99);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

fn notes(run: &Ran) -> Vec<String> {
    let events = run.text("events.ndjson");
    let events =
        events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.filter_map(|event| Some(event["text"].as_str()?.to_owned())).collect()
}

fn timeline(run: &Ran, source: Source) -> Vec<LogRecord> {
    let text = run.text("timeline.ndjson");
    let records = text.lines().map(|line| serde_json::from_str::<LogRecord>(line).unwrap());
    records.filter(|record| record.source == source).collect()
}

#[test]
fn a_file_comes_packed_and_goes_on_after_a_lost_session() {
    for (seed, bytes) in [(30, log_text(6_000).into_bytes()), (31, noise(60_000))] {
        let is_noise = seed == 31;
        let mut world = World::new(seed, Options::clean(BAUD));
        world.fake.put_file("master", "/file", &bytes);
        let is_cut = world.is_cut.clone();
        world.hands_on(async |bench| {
            let mut file = Incoming::new(Vec::new());
            let get = bench.get("/file", &mut file, |_| {});
            let person = async {
                bench.sleep(Duration::from_secs(3)).await;
                cut(bench, &is_cut).await;
            };
            both(Box::pin(get), person).await.0.unwrap();
            assert_eq!(bench.sessions(), 2, "it was cut");
            let line_bytes = file.line_bytes();
            assert!(file.into_writer() == bytes, "seed {seed}");
            let size = bytes.len() as u64;
            // What was on its way at the cut is sent again: a piece, and what the link had under way.
            let most = if is_noise { size + 80_000 } else { size / 2 + 80_000 };
            assert!(line_bytes < most, "seed {seed}: {line_bytes} bytes on the line for {size}");
        });
    }
}

#[test]
fn what_is_there_is_gone_on_with_and_a_wrong_beginning_is_found() {
    let mut world = World::new(32, Options::clean(BAUD));
    let bytes = log_text(500).into_bytes();
    world.fake.put_file("master", "/file", &bytes);
    world.fake.put_file("master", "/empty", b"");
    world.hands_on(async |bench| {
        let mut file = Incoming::new(Vec::new());
        file.take(&bytes[..10_000]).unwrap();
        bench.get("/file", &mut file, |_| {}).await.unwrap();
        assert!(file.line_bytes() < bytes.len() as u64 - 10_000);
        assert!(file.into_writer() == bytes);
        let mut file = Incoming::new(Vec::new());
        file.take(b"something else").unwrap();
        let fault = bench.get("/file", &mut file, |_| {}).await.unwrap_err();
        assert!(fault.message.contains("it was changed while it was read"), "{fault}");
        let mut file = Incoming::new(Vec::new());
        bench.get("/empty", &mut file, |_| {}).await.unwrap();
        assert_eq!((file.bytes(), file.line_bytes()), (0, 0));
        let fault = bench.get("/none", &mut Incoming::new(Vec::new()), |_| {}).await.unwrap_err();
        assert!(fault.message.starts_with("/none") || fault.message.contains("no such"), "{fault}");
        let digest = Incoming::new(Vec::<u8>::new()).sha256();
        assert!(bench.has_prefix("/file", 0, &digest).await.unwrap());
        assert!(!bench.has_prefix("/file", 1 << 40, &digest).await.unwrap());
        assert!(!bench.has_prefix("/none", 0, &digest).await.unwrap());
    });
}

#[test]
fn what_came_live_is_not_fetched_again() {
    let mut world = World::new(33, Options::clean(BAUD));
    let text = log_text(500);
    let mut slow = Program::new();
    for line in text.lines() {
        slow = slow.out(format!("{line}\n")).wait_ms(20);
    }
    world.fake.script().suite("first", slow.exit(0));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);
    assert_eq!(run.text("tests/first/stdout.log"), text);
    let notes = notes(&run);
    let tally = notes.iter().find(|note| note.contains("are home")).expect("a tally");
    assert!(tally.contains(&format!("{} had come live", text.len())), "{tally}");
    assert_eq!(run.summary.warnings, [""; 0]);
}

#[test]
fn the_user_console_is_a_source_of_its_own() {
    let mut world = World::new(34, Options::clean(BAUD));
    let flood: String = (0..3_000).map(|line| format!("[  OK  ] unit {line}\n")).collect();
    let second = Program::new().then(Step::Console(flood)).wait_ms(2_000).exit(0);
    let first = Program::new().then(Step::Console("login: \n".into())).wait_ms(1_000);
    world.fake.script().suite("first", first.exit(0));
    world.fake.script().suite("second", second);
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);
    let lines = timeline(&run, Source::UserConsole);
    assert_eq!(lines.len(), 3_001);
    assert_eq!(lines[0].text, "login: ");
    for (line, record) in lines[1..].iter().enumerate() {
        assert_eq!(record.text, format!("[  OK  ] unit {line}"));
        assert!(record.board_time_us.is_some() && record.uncertainty_us.is_some());
    }
    assert!(!run.text("console.raw").contains("unit"), "it is no longer on the raw line");
}

#[test]
fn kernel_lines_are_what_was_printed_each_as_often() {
    let mut world = World::new(35, Options::clean(BAUD));
    let mut first = Program::new();
    let long = "y".repeat(700);
    for text in ["same", "same", "same", r"tab\x09 gr\xc3\xbcn \x5c", &long] {
        first = first.then(Step::Kernel(text.into()));
    }
    world.fake.script().suite("first", first.wait_ms(500).exit(0));
    let run = world.run(JOB);
    let texts: Vec<String> =
        timeline(&run, Source::Kernel).into_iter().map(|record| record.text).collect();
    let count = |wanted: &str| texts.iter().filter(|text| *text == wanted).count();
    assert_eq!((count("same"), count("tab\t grün \\"), count(&long)), (3, 1, 1), "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.starts_with("yy")).count(), 1, "in one piece");
}

#[test]
fn a_damaged_file_system_is_read_without_its_journal_and_on_record() {
    let mut world = World::new(36, Options::clean(BAUD));
    world.fake.script().suite("first", Program::new().out("safe\n").exit(0));
    world.fake.script().suite("second", Program::new().then(Step::Panic("simulated".into())));
    let e2fsck = Program::new().out("/dev/fake-testrootfs: UNEXPECTED INCONSISTENCY\n").exit(4);
    world.fake.script().command("e2fsck -f -p /dev/fake-testrootfs", e2fsck);
    world.fake.put_file("master", "/sys/fs/pstore/dmesg-ramoops-0", b"Panic#1 Part1\n");
    world.fake.start_trace();
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::TestError)));
    assert_eq!(run.text("tests/first/stdout.log"), "safe\n");
    let damaged = "the file system of testrootfs is damaged: UNEXPECTED INCONSISTENCY";
    assert!(run.summary.warnings.iter().any(|text| text == damaged), "{:?}", run.summary.warnings);
    let trace = world.fake.take_trace();
    assert!(trace.iter().any(|effect| effect.contains("no_replay: true")));
    assert_eq!(run.text("pstore/dmesg-ramoops-0"), "Panic#1 Part1\n");
    assert!(world.fake.file("master", "/sys/fs/pstore/dmesg-ramoops-0").is_none(), "taken home");
    assert!(notes(&run).iter().any(|note| note.contains("pstore: dmesg-ramoops-0")));
}

#[test]
fn a_journal_that_e2fsck_replayed_is_noted() {
    let mut world = World::new(37, Options::clean(BAUD));
    world.fake.script().suite("first", Program::new().then(Step::Panic("simulated".into())));
    let e2fsck = Program::new().out("/dev/fake-testrootfs: recovering journal\n").exit(0);
    world.fake.script().command("e2fsck -f -p /dev/fake-testrootfs", e2fsck);
    world.fake.start_trace();
    let run = world.run(JOB);
    let note = "e2fsck on testrootfs: recovering journal";
    assert!(notes(&run).iter().any(|text| text == note), "{:?}", notes(&run));
    assert!(!world.fake.take_trace().iter().any(|effect| effect.contains("no_replay: true")));
}

#[test]
fn what_a_board_calls_its_files_stays_in_its_place_and_is_bounded() {
    let mut world = World::new(38, Options::clean(BAUD));
    let id = names::run_id(38);
    let directory = format!("/.pumice/runs/2012-03-01-simulated-{id}");
    for name in ["../../../../evil", "tests/../../run.json", "tests/first/../../../events.ndjson"] {
        world.fake.put_file("testrootfs", &format!("{directory}/{name}"), b"evil");
    }
    for number in 0..1_100 {
        world.fake.put_file("testrootfs", &format!("{directory}/tests/first/{number}"), b"x");
    }
    world.fake.script().suite("first", Program::new().out("home\n").exit(0));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);
    assert_eq!(run.text("tests/first/stdout.log"), "home\n", "results come first");
    let warnings = &run.summary.warnings;
    assert!(warnings.iter().any(|text| text.contains("files stay on the board")), "{warnings:?}");
    let above: Vec<_> = std::fs::read_dir(run.folder.parent().unwrap()).unwrap().collect();
    assert_eq!(above.len(), 1, "{above:?}");
    assert!(run.text("events.ndjson").starts_with("{\"time\""));
    serde_json::from_str::<serde_json::Value>(&run.text("run.json")).unwrap();
}
