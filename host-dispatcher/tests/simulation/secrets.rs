//! Secrets of a job whose board prints them wherever it can.

use std::fs;

use super::*;

const TOKEN: &str = "tok3n-\"of\"-the-job";
const KEY: &str = "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\n-----END KEY-----";

fn job() -> Job {
    let text = format!(
        "name: hush\nsecrets:\n  TOKEN: {TOKEN}\n  KEY: |-\n    {}\ntests:\n  - {{name: first, run: 'echo {TOKEN}'}}\n  - {{name: second, run: second}}\n",
        KEY.replace('\n', "\n    ")
    );
    Job::from_str("job.yaml", &text, Path::new(""), |_| Ok(0)).unwrap()
}

/// Every file below a folder that holds one of the texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files_with(&entry, texts));
            continue;
        }
        let bytes = String::from_utf8_lossy(&fs::read(&entry).unwrap()).into_owned();
        let text = texts.iter().find(|text| bytes.contains(**text));
        found.extend(text.map(|text| (entry, (*text).to_owned())));
    }
    found
}

/// Prints a secret through every source that a test has.
fn blabbing(word: &str) -> Program {
    // The agent sends what a pipe has: two pieces with a pause between are two records.
    let (head, tail) = word.split_at(word.len() / 2);
    let signal = format!("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={word} RESULT=pass>\n");
    let long = format!("{}{word}{}\n", "x".repeat(4090), "y".repeat(600));
    Program::new()
        .out(format!("+ curl -H {word}\n{head}"))
        .wait_ms(700)
        .out(format!("{tail}\n{signal}{long}no end {word}"))
        .err(head)
        .wait_ms(700)
        .err(format!("{tail}\n"))
        .then(Step::Kernel(format!("a module says {word}")))
        .then(Step::Log(12, format!("to kmsg {word}")))
        .then(Step::Print(format!("raw {head}")))
        .wait_ms(300)
        .then(Step::Print(format!("{tail}\n")))
        .then(Step::Console(format!("user {word}\n")))
}

#[test]
fn a_board_may_print_a_secret_and_nobody_sees_it() {
    let parts: Vec<&str> = KEY.lines().chain([TOKEN, r#"tok3n-\"of\"-the-job"#]).collect();
    for (seed, is_panic) in [(71, false), (72, true)] {
        let mut world = World::new(seed, Options::noisy(BAUD, 20_000));
        world.fake.script().suite("first", blabbing(TOKEN).exit(0));
        let last = blabbing("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=");
        let last = if is_panic { last.then(Step::Panic(format!("dies of {TOKEN}"))) } else { last };
        world.fake.script().suite("second", last.exit(0));
        world.fake.put_file("testrootfs", "/lava-0/secrets", b"OLD=of-an-earlier-job\n");
        let job = job();
        let run = world.run_job(&job);
        let expected =
            if is_panic { Verdict::Error(ErrorClass::TestError) } else { Verdict::Passed };
        assert_eq!(run.summary.verdict, Some(expected), "{:?}", run.summary);
        assert_eq!(files_with(&run.folder, &parts), [], "seed {seed}");
        // It was there, and is known for what it is.
        let stdout = run.text("tests/first/stdout.log");
        assert!(stdout.starts_with("+ curl -H (secret:TOKEN)"), "{stdout}");
        assert!(stdout.contains("\n(secret:TOKEN)"), "{stdout}");
        for file in ["console.raw", "kernel.log", "timeline.ndjson", "tests/first/stderr.log"] {
            assert!(run.text(file).contains("(secret:TOKEN)"), "{file}");
        }
        let case = run.summary.suites[0].all_cases().next().unwrap();
        assert!(case.case.starts_with("(secret:TOKEN)"), "{case:?}");
        // On the board it was what its owner wrote, for root alone, and is gone.
        let there = world.fake.file("testrootfs", "/lava-0/secrets");
        assert_eq!(there, None, "{:?}", run.summary.warnings);
        let script = format!("/.pumice/runs/{}/tests/first/run.sh", run.name());
        let script = String::from_utf8_lossy(world.fake.file("testrootfs", &script).unwrap());
        assert!(script.contains("export PUMICE_SECRETS='/lava-0/secrets'\n"), "{script}");
        assert!(script.contains(TOKEN), "{script}");
    }
}

#[test]
fn what_a_dead_image_cannot_remove_the_master_agent_does() {
    let mut world = World::new(73, Options::clean(BAUD));
    world.fake.script().suite("first", Program::new().out(TOKEN).then(Step::Hang));
    let job = Job { timeout: std::time::Duration::from_secs(60), ..job() };
    let run = world.run_job(&job);
    let timeout = Verdict::Error(ErrorClass::Timeout);
    assert_eq!(run.summary.verdict, Some(timeout), "{:?}", run.summary);
    assert_eq!(world.fake.file("testrootfs", "/lava-0/secrets"), None);
    assert_eq!(run.summary.warnings, [""; 0]);
    assert_eq!(files_with(&run.folder, &[TOKEN]), []);
}
