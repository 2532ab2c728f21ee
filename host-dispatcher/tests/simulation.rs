//! Whole jobs in virtual time: the real scripts, board, link and agent, over a simulated line, with a board that is
//! made up only where there would be hardware. A failure prints its seed as a command to paste.

use std::cell::{Cell, RefCell};
use std::fs::Permissions;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use agent_core::time::{Duration, Instant};
use agent_core::wire::response::{Exit, Info};
use agent_core::wire::{Method, request};
use fake_board::{Death, DieAt, FakeBoard, Program, Step};
use host_dispatcher::board::{Board, BoardAction, BoardEvent, BoardSpec, Goal, Slot, line_quality};
use host_dispatcher::config::connection::LineRole;
use host_dispatcher::config::lab::Lab;
use host_dispatcher::deploy::effort::Effort;
use host_dispatcher::job::event::{Event, KernelReport, LogRecord, Source, Stamped};
use host_dispatcher::job::spec::Job;
use host_dispatcher::job::verdict::{ErrorClass, Verdict};
use host_dispatcher::report::lines::Lines;
use host_dispatcher::report::summary::Summary;
use host_dispatcher::script::ask::both;
use host_dispatcher::script::deploy::Deployer;
use host_dispatcher::script::job::{self, Begin, JobRun};
use host_dispatcher::script::line_test::{LineTest, Measured};
use host_dispatcher::script::observer::{Narrator, Observer, Recorder};
use host_dispatcher::script::{Bench, Fault, Script};
use host_dispatcher::store::run_dir::RunDir;
use jiff::Timestamp;
use serial_sim::{Line, Options, Rng};

#[path = "simulation/secrets.rs"]
mod secrets;
#[path = "simulation/transfers.rs"]
mod transfers;

/// Three tests that do nothing and pass, unless the fake board's script says otherwise.
const JOB: &str = "
name: simulated
tests:
  - {name: first, run: first, timeout: 20m}
  - {name: second, run: second, timeout: 5s}
  - {name: third, run: third}
";

const BAUD: u32 = 115_200;

/// No job takes longer by the board's clock; one that does is stuck.
const LIMIT: Duration = Duration::from_secs(3600);

#[test]
fn a_job_passes_and_its_record_is_whole() {
    let mut world = World::new(1, Options::clean(BAUD));
    world.fake.script().suite("first", Program::new().out("one\ntwo\n").err("oops\n").exit(0));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary);
    assert_eq!(run.text("tests/first/stdout.log"), "one\ntwo\n");
    assert_eq!(run.text("tests/first/stderr.log"), "oops\n");
    assert!(run.text("timeline.ndjson").contains("\"source\":\"stderr\""));
    assert!(run.text("console.raw").contains("Hit any key"));
    assert_eq!(run.summary.tally.pass, 3);
    assert_eq!(run.summary.warnings, [""; 0]);
    let record: serde_json::Value = serde_json::from_str(&run.text("run.json")).unwrap();
    let link = &record["link"];
    let roles = [&link["agents"][0]["role"], &link["agents"][1]["role"]];
    assert_eq!((&link["verdict"], roles), (&"good".into(), [&"master".into(), &"test".into()]));
    assert!(link["frames_in"].as_u64() > link["agents"][0]["frames_out"].as_u64(), "{link:#}");
}

#[test]
fn an_overlay_arrives_whole_with_its_modes_and_stays_out_of_the_results() {
    let folder = std::env::temp_dir().join(format!("pumice-overlay-{}", std::process::id()));
    let large: Vec<u8> = (0..40_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
    let files = [
        ("suite/smoke.yaml", 0o644, DEFINITION.as_bytes()),
        ("suite/lib/deep/er/check.sh", 0o755, b"true\n"),
        ("suite/lib/it's a name \u{e4}", 0o600, b""),
        ("suite/lib/large", 0o444, &large),
        (
            "job.yaml",
            0o644,
            b"name: x\ntests: [{definition: {directory: suite, path: smoke.yaml}}]\n",
        ),
    ];
    for (path, mode, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("deep/er", folder.join("suite/lib/link")).unwrap();
    let job = Job::load(&folder.join("job.yaml")).unwrap();

    let mut world = World::new(12, Options::noisy(BAUD, 20_000));
    world.fake.script().suite("simulated", Program::new().out("ran\n").exit(0));
    let old = "/.pumice/overlay/simulated/lib/of-an-earlier-run";
    world.fake.put_file("testrootfs", old, b"x");
    let run = world.run_job(&job);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary);
    assert_eq!(world.fake.file("testrootfs", old), None);
    let below = format!("/.pumice/runs/{}/tests/simulated", run.name());
    let expected = files.iter().filter_map(|(path, ..)| path.strip_prefix("suite/"));
    for path in expected.chain(["lib/link/check.sh"]) {
        let sent = world.fake.file("testrootfs", &format!("/.pumice/overlay/simulated/{path}"));
        let source = std::fs::read(folder.join("suite").join(path)).unwrap();
        assert_eq!(sent, Some(&source[..]), "{path}");
    }
    for (path, mode, _) in &files[..4] {
        let path = path.strip_prefix("suite/").unwrap();
        let sent =
            world.fake.file_mode("testrootfs", &format!("/.pumice/overlay/simulated/{path}"));
        assert_eq!(sent, Some(*mode), "{path}");
    }
    let script = world.fake.file("testrootfs", &format!("{below}/run.sh")).unwrap();
    assert!(String::from_utf8_lossy(script).ends_with("overlay/simulated'\n. lib/link/check.sh\n"));
    assert_eq!(run.text("definitions/simulated.yaml"), DEFINITION);
    assert_eq!(run.text("tests/simulated/stdout.log"), "ran\n");
    let home = std::fs::read_dir(run.folder.join("tests/simulated")).unwrap();
    for name in home.map(|entry| entry.unwrap().file_name()) {
        assert!(name != "run.sh" && name != "lib", "{name:?} came home");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

const DEFINITION: &str = "\
metadata: {format: Lava-Test Test Definition 1.0, name: simulated}
run: {steps: [. lib/link/check.sh]}
";

#[test]
fn a_noisy_line_is_a_warning_and_on_record() {
    let mut world = World::new(11, Options::noisy(BAUD, 1000));
    let text: String = (0..600).map(|line| format!("line {line} of the output\n")).collect();
    world.fake.script().suite("first", Program::new().out(&text).exit(0));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary);
    let warnings = &run.summary.warnings;
    assert!(warnings.iter().any(|text| text.starts_with("the line: noisy")), "{warnings:?}");
    let record: serde_json::Value = serde_json::from_str(&run.text("run.json")).unwrap();
    assert_eq!(record["link"]["verdict"], "noisy", "{:#}", record["link"]);
    assert!(record["link"]["damaged_frames"].as_u64() > Some(2), "{:#}", record["link"]);
}

#[test]
fn a_test_that_fails_is_a_failed_run_and_the_others_go_on() {
    let mut world = World::new(2, Options::clean(BAUD));
    world.fake.script().suite("second", Program::new().exit(7));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Failed));
    assert_eq!((run.summary.tally.pass, run.summary.tally.fail), (2, 1));
}

#[test]
fn a_test_that_hangs_is_killed_and_the_others_go_on() {
    let mut world = World::new(3, Options::clean(BAUD));
    let hangs = Program::new().out("begun\n").then(Step::Hang);
    world.fake.script().suite("second", hangs);
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::Timeout)));
    assert_eq!((run.summary.tally.pass, run.summary.tally.timed_out), (2, 1));
    assert_eq!(run.text("tests/second/stdout.log"), "begun\n");
}

#[test]
fn a_panic_ends_the_run_and_what_was_synced_comes_home_through_the_master_agent() {
    let mut world = World::new(4, Options::clean(BAUD));
    world.fake.script().suite("first", Program::new().out("safe\n").exit(0));
    world.fake.script().suite("second", Program::new().then(Step::Panic("simulated".into())));
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::TestError)));
    assert_eq!((run.summary.tally.pass, run.summary.tally.unknown), (1, 2));
    assert_eq!(run.text("tests/first/stdout.log"), "safe\n");
    assert!(run.summary.errors[0].message.contains("panic"), "{:?}", run.summary.errors);
}

/// A test during which the kernel reports trouble, in its log.
fn warns(text: &str) -> Program {
    let lines = text.lines().map(|line| Step::Log(4, line.to_owned()));
    let program = lines.fold(Program::new().wait_ms(1000), Program::then);
    program.wait_ms(10_000).out("done\n").exit(0)
}

const WARNING: &str = "------------[ cut here ]------------\n\
    WARNING: CPU: 0 PID: 412 at drivers/misc/lkdtm/bugs.c:89 lkdtm_WARNING+0x18/0x20\n\
    CPU: 0 PID: 412 Comm: sh Not tainted 6.1.0 #1\n\
    ---[ end trace 0000000000000000 ]---";

#[test]
fn a_kernel_report_is_on_record_with_the_suite_and_the_jobs_policy_decides() {
    for (policy, verdict, done) in [
        ("record", Verdict::Passed, 3),
        ("fail", Verdict::Failed, 2),
        ("abort", Verdict::Error(ErrorClass::TestError), 1),
    ] {
        let mut world = World::new(30, Options::clean(BAUD));
        world.fake.script().suite("second", warns(WARNING));
        let run = world.run(&format!("{JOB}kernel: {{warn: {policy}}}\n").replace("5s", "50s"));
        assert_eq!(run.summary.verdict, Some(verdict), "{policy}: {:?}", run.summary.errors);
        assert_eq!(run.summary.tally.pass, done, "{policy}");
        let [report] = &run.reports()[..] else { panic!("{policy}: {:?}", run.reports()) };
        assert_eq!((&*report.kind, &*report.policy, &*report.source), ("warn", policy, "kernel"));
        assert_eq!(report.suite.as_deref(), Some("second"), "{policy}");
        assert_eq!(report.text, WARNING, "{policy}");
        if let [error] = &run.summary.errors[..] {
            assert!(error.message.contains("WARNING: CPU: 0 PID: 412"), "{}", error.message);
            assert!(error.message.ends_with("while the test second ran"), "{}", error.message);
        }
    }
}

#[test]
fn what_user_space_writes_into_the_kernels_log_is_no_report() {
    let mut world = World::new(31, Options::clean(BAUD));
    let mut first = Program::new();
    // 1: what echo has; 3: a daemon; 32: cut to a byte it would be the kernel's.
    for facility in [1, 3, 32] {
        for line in
            WARNING.lines().chain(["Oops: 0000 [#1]", "BUG: x", "Kernel panic - not syncing: x"])
        {
            first = first.then(Step::Log(facility << 3 | 4, line.to_owned()));
        }
    }
    let on_output = WARNING.replace('\n', "\r\n");
    first = first.wait_ms(5_000).out(&on_output).err(&on_output);
    world.fake.script().suite("first", first.exit(0));
    let run = world.run(&format!("{JOB}kernel: {{warn: abort, oops: abort, bug: abort}}\n"));
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);
    assert_eq!(run.reports(), []);
}

#[test]
fn a_report_whose_lines_did_not_all_come_live_is_whole_in_the_end() {
    let mut world = World::new(32, Options::clean(BAUD));
    // More than the line has room for, before and while the kernel reports.
    let flood: String = (0..400).map(|line| format!("line {line} of the output\n")).collect();
    let mut program = Program::new();
    for line in WARNING.lines() {
        program = program.out(&flood).wait_ms(10).then(Step::Log(4, line.to_owned()));
    }
    world.fake.script().suite("second", program.out(&flood).exit(0));
    let run = world.run(&JOB.replace("5s", "500s"));
    assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);
    assert!(run.text("events.ndjson").contains("found no room on the line"));
    let reports = run.reports();
    assert_eq!(reports.iter().map(|report| &*report.text).collect::<Vec<_>>(), [WARNING]);
}

#[test]
fn a_panics_text_is_whole_and_the_fault_names_its_line_and_the_test() {
    let mut world = World::new(33, Options::clean(BAUD));
    let panics = Program::new().wait_ms(3_000).then(Step::Panic("simulated".into()));
    world.fake.script().suite("second", panics);
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::TestError)));
    let message = &run.summary.errors[0].message;
    assert!(message.contains("Kernel panic - not syncing: simulated"), "{message}");
    assert!(message.ends_with("while the test second ran"), "{message}");
    let [report] = &run.reports()[..] else { panic!("{:?}", run.reports()) };
    assert_eq!((&*report.kind, &*report.policy, &*report.source), ("panic", "abort", "console"));
    assert_eq!(report.suite.as_deref(), Some("second"));
    let text = "Kernel panic - not syncing: simulated\nCPU: 0 PID: 1 Comm: init\n\
                ---[ end Kernel panic - not syncing: simulated ]---";
    assert_eq!(report.text, text);
    let kept = run.text("panic.txt");
    let lines = kept.lines().map(|line| line.split_once("] ").unwrap().1);
    assert_eq!(lines.collect::<Vec<_>>().join("\n"), text);
}

/// What a boot and a death of the kernel look like on the raw line.
const OLD_LOG: &str = "\r\nU-Boot 2023.01+dfsg-2 (Jan 01 2023)\r\n\
    Hit any key to stop autoboot:  2 \x08\x08\x08 1 \r\n=> bootz\r\n\
    [    0.000000] Booting Linux on physical CPU 0x0\r\n\
    [    9.000000] ------------[ cut here ]------------\r\n\
    [    9.000001] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x0/0x1\r\n\
    [    9.000002] ---[ end trace 0000000000000000 ]---\r\n\
    [   12.345678] Kernel panic - not syncing: sysrq triggered crash\r\n\
    [   12.345679] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";

#[test]
fn a_test_that_prints_an_old_log_of_the_line_disturbs_nothing() {
    for (seed, faults) in [
        (34, Options::clean(BAUD)),
        (35, Options::noisy(BAUD, 4000)),
        (36, Options::lossy(BAUD, 4000)),
    ] {
        let mut world = World::new(seed, faults);
        // Line by line, then in one piece.
        let mut first = Program::new().wait_ms(500);
        for line in OLD_LOG.split_inclusive("\r\n") {
            first = first.then(Step::Print(line.to_owned())).wait_ms(700);
        }
        let first = first.then(Step::Print(OLD_LOG.to_owned())).wait_ms(20_000).out("here\n");
        world.fake.script().suite("first", first.exit(0));
        let run = world.run(JOB);
        assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{seed}: {:?}", run.summary.errors);
        assert_eq!(run.summary.tally.pass, 3, "{seed}");
        assert_eq!(run.reports(), [], "{seed}");
        let restarts = run.summary.warnings.iter().filter(|text| text.contains("restarted"));
        assert_eq!(restarts.count(), 0, "{seed}: {:?}", run.summary.warnings);
        let prints = run.text("events.ndjson").matches("was a print: the agent lives").count();
        assert!(prints >= 3, "{seed}: {prints}");
        assert!(!run.folder.join("panic.txt").exists(), "{seed}");
    }
}

#[test]
fn a_board_that_really_restarts_is_found_at_its_boot_loader_in_time() {
    for seed in 37..40 {
        let mut world = World::new(seed, Options::clean(BAUD));
        let resets = Program::new().wait_ms(seed * 37).then(Step::Reset);
        world.fake.script().suite("second", resets);
        let run = world.run(JOB);
        assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::TestError)), "{seed}");
        let message = &run.summary.errors[0].message;
        assert!(message.contains("the board was restarted"), "{seed}: {message}");
        assert_eq!((run.summary.tally.pass, run.summary.tally.unknown), (1, 2), "{seed}");
    }
}

#[test]
fn a_board_that_dies_once_on_its_way_is_started_again() {
    for at in [DieAt::PowerOn, DieAt::Kernel, DieAt::Agent] {
        let mut world = World::new(5, Options::clean(BAUD));
        world.fake.die_at(at, Death::Hang);
        let run = world.run(JOB);
        assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{at:?}: {:?}", run.summary.errors);
        assert!(!run.summary.warnings.is_empty(), "{at:?}");
    }
}

#[test]
fn a_board_that_says_nothing_is_an_infrastructure_error() {
    let mut world = World::new(6, Options::clean(BAUD));
    world.fake.set_unresponsive(true);
    let run = world.run(JOB);
    assert_eq!(run.summary.verdict, Some(Verdict::Error(ErrorClass::InfrastructureError)));
    assert_eq!(run.summary.tally.unknown, 3);
}

#[test]
fn whatever_the_line_does_the_results_are_right() {
    let seeds = match std::env::var("PUMICE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 100..112,
    };
    for seed in seeds {
        let faults = match seed % 3 {
            0 => Options::noisy(BAUD, 4000),
            1 => Options::console(BAUD, 50_000),
            _ => Options::lossy(BAUD, 4000),
        };
        let mut world = World::new(seed, faults);
        let text: String = (0..400).map(|line| format!("line {line} of the output\n")).collect();
        world.fake.script().suite("first", Program::new().out(&text).exit(0));
        world.fake.script().suite("second", Program::new().exit(3));
        let run = world.run(JOB);
        let replay =
            format!("PUMICE_SEED={seed} cargo test -p host-dispatcher --test simulation whatever");
        let Summary { verdict, tally, errors, .. } = &run.summary;
        assert_eq!(*verdict, Some(Verdict::Failed), "{replay}\n{errors:?}");
        assert_eq!((tally.pass, tally.fail), (2, 1), "{replay}");
        assert_eq!(run.text("tests/first/stdout.log"), text, "{replay}");
    }
}

#[test]
fn an_exit_status_arrives_though_its_session_is_lost_and_the_command_runs_once() {
    let mut world = World::new(7, Options::clean(BAUD));
    let program = Program::new().then(Step::Wait(Duration::from_secs(2))).exit(5);
    world.fake.script().command("once", program);
    world.fake.start_trace();
    let is_cut = world.is_cut.clone();
    world.hands_on(async |bench| {
        let asked = bench.start(Method::EXEC, &exec("once"), &[], LONG);
        bench.sleep(Duration::from_secs(1)).await;
        let answer = both(asked.answer(), cut(bench, &is_cut)).await.0.unwrap();
        let exit: Exit = answer.read().unwrap();
        assert_eq!((exit.end, exit.code, answer.is_late()), (Exit::EXITED, 5, true));
        assert_eq!(bench.sessions(), 2);
    });
    assert_eq!(spawned(&mut world), 1);
}

#[test]
fn a_command_that_the_agent_stopped_and_one_that_it_never_got_are_told_apart() {
    let mut world = World::new(8, Options::clean(BAUD));
    let program = Program::new().then(Step::Wait(Duration::from_secs(3600))).exit(0);
    world.fake.script().command("long", program);
    world.fake.start_trace();
    let is_cut = world.is_cut.clone();
    world.hands_on(async |bench| {
        let stopped = bench.start(Method::EXEC, &exec("long"), &[], LONG);
        bench.sleep(Duration::from_secs(1)).await;
        is_cut.set(true);
        let unheard = bench.start(Method::EXEC, &exec("unheard"), &[], LONG);
        let answers = both(stopped.answer(), unheard.answer());
        let ((stopped, unheard), ()) = both(answers, cut(bench, &is_cut)).await;
        let (stopped, unheard) = (stopped.unwrap_err().message, unheard.unwrap_err().message);
        assert!(stopped.contains("was stopped (exec)"), "{stopped}");
        assert!(unheard.contains("nothing was done (exec)"), "{unheard}");
    });
    assert_eq!(spawned(&mut world), 1);
}

#[test]
fn what_may_be_repeated_is_asked_again_in_the_next_session() {
    let mut world = World::new(9, Options::clean(BAUD));
    let is_cut = world.is_cut.clone();
    world.hands_on(async |bench| {
        is_cut.set(true);
        let asked = bench.ask(Method::INFO, &request::Info {}, LONG);
        let (answer, ()) = both(asked, cut(bench, &is_cut)).await;
        assert_eq!(answer.unwrap().read::<Info<'_>>().unwrap().role, Info::MASTER);
        // Not beyond its own deadline.
        is_cut.set(true);
        let (before, short) = (bench.now(), Duration::from_secs(9));
        let fault = bench.ask(Method::INFO, &request::Info {}, short).await.unwrap_err();
        assert!(fault.message.contains("the session with the agent ended"), "{fault}");
        assert!(bench.now().since(before) < short + Duration::from_secs(1));
        is_cut.set(false);
    });
}

#[test]
fn after_a_restart_of_the_board_nothing_is_asked_again() {
    let mut world = World::new(10, Options::clean(BAUD));
    let dies = Program::new().then(Step::Wait(Duration::from_secs(1))).then(Step::Reset);
    world.fake.script().command("dies", dies);
    world.fake.start_trace();
    world.hands_on(async |bench| {
        let asked = bench.start(Method::EXEC, &exec("dies"), &[], LONG);
        let fault = asked.answer().await.unwrap_err();
        assert!(fault.message.contains("ended before it answered"), "{fault}");
        assert_eq!(bench.sessions(), 1, "nobody waited for another boot");
    });
    assert_eq!(spawned(&mut world), 1);
}

#[test]
fn a_request_that_ends_with_its_board_says_what_became_of_that() {
    let mut world = World::new(11, Options::clean(BAUD));
    world.hands_on(async |bench| {
        let asked = bench.start(Method::INFO, &request::Info {}, &[], LONG);
        bench.board(|board, now| {
            board.handle_disconnected(now, LineRole::Console, "the emulator was killed")
        });
        let fault = asked.answer().await.unwrap_err();
        assert!(fault.message.ends_with("(info): the emulator was killed"), "{fault}");
    });
}

/// A request's deadline that is no part of the test.
const LONG: Duration = Duration::from_secs(600);

/// Longer than a session lives in silence.
async fn cut(bench: &Bench, is_cut: &Cell<bool>) {
    is_cut.set(true);
    bench.sleep(Duration::from_secs(10)).await;
    is_cut.set(false);
}

fn exec(name: &str) -> request::Exec<'static> {
    let argv = format!("{name}\0").into_bytes().leak();
    request::Exec { argv, env: b"", cwd: "", stdin: 0, stdout: 0, stderr: 0, timeout_ms: 0 }
}

fn spawned(world: &mut World) -> usize {
    let trace = world.fake.take_trace();
    trace.iter().filter(|effect| effect.starts_with("Spawn")).count()
}

/// Nobody is told anything.
struct Nobody;

impl Observer for Nobody {
    fn board_event(&mut self, _wall: Timestamp, _event: &BoardEvent) {}

    fn event(&mut self, _wall: Timestamp, _event: Event) {}

    fn log(&mut self, _record: &LogRecord) {}
}

#[test]
fn a_clean_line_is_measured_as_what_it_is() {
    let (measured, outcome) = World::new(7, Options::clean(BAUD)).line_test(10, None);
    outcome.unwrap();
    let (to_board, from_board) = (measured.to_board.unwrap(), measured.from_board.unwrap());
    let line = f64::from(BAUD) / 10.0;
    assert!(to_board.goodput() >= 0.95 * line && to_board.goodput() <= line, "{to_board:?}");
    // Text-safe: seven bits of eight.
    assert!(from_board.goodput() >= 0.8 * line && from_board.goodput() <= line, "{from_board:?}");
    assert_eq!(measured.wrong_bytes(), 0);
    let host = measured.host;
    assert_eq!((host.damaged_frames, host.console_bytes, host.sessions), (0, 0, 0), "{host}");
    let (idle, loaded) = (measured.idle.unwrap(), measured.loaded.unwrap());
    assert!(idle.min_us <= idle.median_us && idle.median_us <= idle.max_us, "{idle:?}");
    assert!(idle.median_us < loaded.median_us, "a loaded line answers later: {loaded:?}");
    assert!(measured.clock.unwrap().uncertainty_us <= idle.median_us, "{:?}", measured.clock);
    assert_eq!(measured.verdict(), line_quality::Verdict::Good);
}

#[test]
fn a_bad_line_is_measured_without_a_wrong_byte() {
    for (seed, faults) in [
        (8, Options::noisy(BAUD, 4000)),
        (9, Options::console(BAUD, 50_000)),
        (10, Options::lossy(BAUD, 4000)),
    ] {
        let is_console = seed == 9;
        let (measured, outcome) = World::new(seed, faults).line_test(10, None);
        outcome.unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        let (to_board, from_board) = (measured.to_board.unwrap(), measured.from_board.unwrap());
        assert!(to_board.bytes > 20_000 && from_board.bytes > 10_000, "seed {seed}: {measured:?}");
        assert_eq!(measured.wrong_bytes(), 0, "seed {seed}");
        let host = measured.host;
        assert_eq!(host.console_bytes > 1000, is_console, "seed {seed}: {host}");
        assert_eq!(host.damaged_frames > 0, !is_console, "seed {seed}: {host}");
        assert_eq!(host.retransmits > 0, !is_console, "seed {seed}: {host}");
    }
}

#[test]
fn an_interrupted_line_test_keeps_what_it_has_and_frees_the_agent() {
    for (interrupt_ms, has_push, has_pull) in [(2000, true, false), (7000, true, true)] {
        let mut world = World::new(11, Options::clean(BAUD));
        let at = Duration::from_millis(interrupt_ms);
        let (measured, outcome) = world.line_test(10, Some(at));
        assert_eq!(outcome.unwrap_err().class, ErrorClass::Canceled);
        let has = (measured.to_board.is_some(), measured.from_board.is_some());
        assert_eq!(has, (has_push, has_pull), "{measured:?}");
        assert!(measured.to_board.unwrap().goodput() > 8000.0, "{measured:?}");
        assert_eq!(measured.wrong_bytes(), 0);
    }
}

#[test]
fn every_line_of_a_log_has_its_time_within_what_it_says() {
    for (seed, kernel_offset_us) in [(20, 3_000), (21, -3_000)] {
        let options =
            fake_board::Options { seed, kernel_offset_us, ..fake_board::Options::default() };
        let mut world = World::with_board(options, Options::clean(BAUD));
        // Its clock is one of a board that has been up for a day and a bit.
        world.clock = BoardClock { start_us: 86_412_345_678, ppm: 80.0 };
        let clock = world.clock;
        let mut first = Program::new();
        for minute in 0..10 {
            first = first.out(format!("minute {minute}\n")).wait_ms(60_000);
            first = first.then(Step::Kernel(format!("kernel, minute {minute}")));
        }
        world.fake.script().suite("first", first.exit(0));
        // More than the line has room for: exchanges are slow, and the timeline is completed from the files.
        let text: String = (0..4_000).map(|line| format!("line {line} of the output\n")).collect();
        world.fake.script().suite("third", Program::new().out(&text).exit(0));
        let run = world.run(JOB);
        assert_eq!(run.summary.verdict, Some(Verdict::Passed), "{:?}", run.summary.errors);

        let (mut kernel, mut others, mut largest_us) = (0, 0, 0);
        for line in run.text("timeline.ndjson").lines() {
            let record: LogRecord = serde_json::from_str(line).unwrap();
            let Some(board_us) = record.board_time_us else { continue };
            let agent_us = if record.source == Source::Kernel {
                kernel += 1;
                board_us.checked_add_signed(-kernel_offset_us).unwrap()
            } else {
                others += 1;
                board_us
            };
            let truth = wall(Instant::from_micros(clock.host_us(agent_us)));
            let error = record.host_time.duration_since(truth).as_micros().unsigned_abs();
            let said = u128::from(record.uncertainty_us.unwrap());
            // A microsecond is what the truth itself is rounded by.
            assert!(error <= said + 1, "seed {seed}: {error} µs off: {line}");
            largest_us = largest_us.max(said);
        }
        assert!(kernel > 15 && others > 4_000, "{kernel} and {others}");
        assert!(largest_us < 20_000, "{largest_us}");

        let [master, test] = &run.summary.clocks[..] else { panic!("{:?}", run.summary.clocks) };
        assert_eq!((master.slot, test.slot), (Slot::Master, Slot::Test));
        assert_eq!(test.kernel_offset_us, Some(kernel_offset_us), "{test:?}");
        assert!(test.drift_ppm.is_some_and(|ppm| (ppm - 80.0).abs() < 2.0), "{test:?}");
        assert!(test.samples > 5 && test.uncertainty_us < 10_000, "{test:?}");
        assert_eq!(master.drift_ppm, None, "a short session tells none: {master:?}");
    }
}

/// A board, its line and a lab host.
struct World {
    seed: u64,
    now: Instant,
    fake: FakeBoard,
    clock: BoardClock,
    /// Towards the board.
    down: Line,
    /// From the board.
    up: Line,
    /// What the line does once there is a session: a boot loader has no check values.
    faults: Options,
    are_faults_on: bool,
    /// Nothing comes through, either way.
    is_cut: Rc<Cell<bool>>,
}

/// The board's clock, by the host's.
#[derive(Clone, Copy)]
struct BoardClock {
    /// What it shows when the host's shows 0.
    start_us: u64,
    /// How much faster it runs.
    ppm: f64,
}

impl BoardClock {
    const LIKE_THE_HOSTS: Self = Self { start_us: 0, ppm: 0.0 };

    fn at(self, now: Instant) -> Instant {
        let us = now.as_micros() as f64 * (1.0 + self.ppm / 1e6);
        Instant::from_micros(self.start_us + us as u64)
    }

    /// The host's time at one of the board, µs.
    fn host_us(self, board_us: u64) -> u64 {
        ((board_us - self.start_us) as f64 / (1.0 + self.ppm / 1e6)) as u64
    }
}

/// What a run left.
struct Ran {
    summary: Summary,
    folder: PathBuf,
}

impl World {
    fn new(seed: u64, faults: Options) -> Self {
        let options = fake_board::Options { seed, ..fake_board::Options::default() };
        Self::with_board(options, faults)
    }

    fn with_board(board: fake_board::Options, faults: Options) -> Self {
        let seed = board.seed;
        let mut rng = Rng::new(seed);
        Self {
            seed,
            now: Instant::from_micros(1_000_000),
            fake: FakeBoard::new(board),
            clock: BoardClock::LIKE_THE_HOSTS,
            down: Line::new(Options::clean(BAUD), rng.fork()),
            up: Line::new(Options::clean(BAUD), rng.fork()),
            faults,
            are_faults_on: false,
            is_cut: Rc::default(),
        }
    }

    /// Runs a script in a session with the master agent.
    fn hands_on(&mut self, script: impl AsyncFn(&Bench)) {
        let spec = BoardSpec::from_lab(&Lab::embedded().boards.remove(0)).unwrap();
        let board = Board::new(spec, self.seed);
        let bench = Bench::new(board, Box::new(Nobody), self.now, wall(self.now));
        self.drive(&bench, async {
            bench.reach(Goal::Up(Slot::Master)).await.unwrap();
            script(&bench).await;
        });
    }

    fn run(&mut self, text: &str) -> Ran {
        self.run_job(&Job::from_str("job.yaml", text, Path::new(""), |_| Ok(0)).unwrap())
    }

    fn run_job(&mut self, job: &Job) -> Ran {
        let board = Lab::embedded().boards.remove(0);
        let id = format!("pumice-simulation-{}-{}", std::process::id(), self.seed);
        let root = std::env::temp_dir().join(id);
        let dir = RunDir::create(&root, &job.name, wall(self.now), self.seed).unwrap();
        let (run, folder) = (dir.name().to_owned(), dir.path().to_owned());
        let reporter = Lines::new(std::io::sink(), std::io::sink());
        let recorder = Rc::new(RefCell::new(Recorder::new(dir, Box::new(reporter))));
        let spec = BoardSpec::from_lab(&board).unwrap();
        let observer = Box::new(recorder.clone());
        let bench = Bench::new(Board::new(spec, self.seed), observer, self.now, wall(self.now));
        let job_run = JobRun {
            seat: None,
            job,
            run: &run,
            board: &board.name,
            board_type: &board.board_type,
            deployer: Deployer {
                store: root.join("store"),
                board: board.name.clone(),
                effort: Effort::Low,
                line_speed: None,
                agents: board.agents.clone(),
                persists_agents: false,
                image_files: Vec::new(),
            },
            boot_image: None,
            begin: Begin::AtMaster,
        };
        self.drive(&bench, job::run(&bench, &job_run));
        let mut recorder = recorder.borrow_mut();
        recorder.finish(wall(self.now), 0.0, bench.line_report().to_json()).unwrap();
        let mut summary = Summary::default();
        recorder.with_run_dir(&mut |dir| summary = dir.summary().clone());
        Ran { summary, folder }
    }

    /// A test of the line of a board that was just brought up, interrupted so long after that.
    fn line_test(
        &mut self,
        seconds: u64,
        interrupt: Option<Duration>,
    ) -> (Measured, Result<(), Fault>) {
        let spec = BoardSpec::from_lab(&Lab::embedded().boards[0]).unwrap();
        let observer =
            Box::new(Narrator::new(Box::new(Lines::new(std::io::sink(), std::io::sink())), false));
        let bench = Bench::new(Board::new(spec, self.seed), observer, self.now, wall(self.now));
        let (mut measured, mut outcome) = (Measured::default(), Ok(()));
        let test = LineTest { period: Duration::from_secs(seconds), seed: NonZeroU32::MIN };
        let script = async {
            bench.reach(Goal::Up(Slot::Master)).await.unwrap();
            let person = async {
                if let Some(after) = interrupt {
                    bench.sleep(after).await;
                    bench.interrupt();
                }
            };
            outcome = both(Box::pin(bench.line_test(&test, &mut measured)), person).await.0;
            // Slots and streams are free: the next test begins at once.
            let test = LineTest { period: Duration::from_secs(2), ..test };
            bench.line_test(&test, &mut Measured::default()).await.unwrap();
        };
        self.drive(&bench, script);
        (measured, outcome)
    }

    /// The loop of `io::drive`, with a clock that jumps.
    fn drive(&mut self, bench: &Bench, script: impl Future<Output = ()>) {
        let mut script = Script::new(script);
        let limit = self.now + LIMIT;
        loop {
            bench.set_time(self.now, wall(self.now));
            loop {
                bench.drain();
                if script.poll(bench).is_some() {
                    return;
                }
                let moved = self.act(bench) | self.transmit(bench);
                if !moved && !bench.drain() {
                    break;
                }
            }
            let board = bench.board(|board, _| board.poll_timeout());
            let line = [&self.up, &self.down];
            let line = line.map(|line| line.next_arrival().into_iter().chain(line.next_drained()));
            let line = line.into_iter().flatten().map(Instant::from_micros).min();
            // A microsecond later: where clocks differ, the board must find it due.
            let fake = self.fake.poll_timeout();
            let fake = fake.map(|at| match self.clock.ppm {
                0.0 => at,
                _ => Instant::from_micros(self.clock.host_us(at.as_micros()) + 1),
            });
            let deadlines = [board, bench.wake_at(), fake, line];
            let next = deadlines.into_iter().flatten().min().expect("nothing will happen again");
            // A deadline that has passed and moves nothing must not stop the clock.
            self.now = next.max(self.now + Duration::from_micros(50));
            let phase = bench.board(|board, _| board.phase());
            assert!(self.now < limit, "seed {}: stuck in phase {phase}", self.seed);
            self.deliver(bench);
        }
    }

    fn act(&mut self, bench: &Bench) -> bool {
        let mut any = false;
        while let Some(action) = bench.board(|board, _| board.poll_action()) {
            any = true;
            match action {
                BoardAction::Connect(_) => {
                    self.fake.power_on(self.clock.at(self.now));
                    bench.board(|board, now| board.handle_connected(now, LineRole::Console));
                }
                BoardAction::Disconnect => {
                    self.fake.power_off(self.clock.at(self.now));
                    self.up.clear();
                    self.down.clear();
                    bench.board(|board, now| {
                        board.handle_disconnected(now, LineRole::Console, "closed")
                    });
                }
                BoardAction::SetBaud(_) | BoardAction::OfferLane | BoardAction::CloseLane => {}
                BoardAction::Power(_) => unreachable!("the power of an emulator is its line"),
            }
        }
        any
    }

    fn transmit(&mut self, bench: &Bench) -> bool {
        let mut any = false;
        let now = self.now.as_micros();
        while self.down.queued_writes(now) < 2 {
            let Some(bytes) = bench.board(|board, now| board.poll_transmit(now, LineRole::Console))
            else {
                break;
            };
            self.down.send(now, &bytes);
            any = true;
        }
        while self.up.queued_writes(now) < 2 {
            let Some(bytes) = self.fake.poll_transmit(self.clock.at(self.now)) else { break };
            self.up.send(now, &bytes);
            any = true;
        }
        any
    }

    fn deliver(&mut self, bench: &Bench) {
        let now = self.now.as_micros();
        bench.set_time(self.now, wall(self.now));
        let is_up = bench.board(|board, _| board.is_up());
        if is_up != self.are_faults_on {
            self.are_faults_on = is_up;
            let options = if is_up { self.faults.clone() } else { Options::clean(BAUD) };
            self.up.set_options(now, options.clone());
            // Nobody writes text towards a board.
            self.down.set_options(now, Options { text: Options::clean(BAUD).text, ..options });
        }
        let is_cut = self.is_cut.get();
        let down = self.down.receive(now);
        if !down.is_empty() && !is_cut {
            self.fake.handle_line(self.clock.at(self.now), &down);
        }
        self.fake.handle_timeout(self.clock.at(self.now));
        let up = self.up.receive(now);
        bench.board(|board, now| {
            if !up.is_empty() && !is_cut {
                board.handle_bytes(now, LineRole::Console, &up);
            }
            board.handle_timeout(now);
        });
    }
}

impl Ran {
    fn reports(&self) -> Vec<KernelReport> {
        let events = self.text("events.ndjson");
        let events = events.lines().map(|line| serde_json::from_str::<Stamped>(line).unwrap());
        let report = |stamped: Stamped| match stamped.event {
            Event::KernelReport(report) => Some(report),
            _ => None,
        };
        events.filter_map(report).collect()
    }

    fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap()
    }

    fn text(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.join(name));
        String::from_utf8(bytes.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap()
    }
}

impl Drop for Ran {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder.parent().unwrap_or(&self.folder));
    }
}

fn wall(now: Instant) -> Timestamp {
    Timestamp::from_microsecond(1_330_560_000_000_000 + now.as_micros() as i64).unwrap()
}
