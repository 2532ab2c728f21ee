//! Every kind of death of the board under test, on the emulated board: no case that the board acknowledged is lost, none
//! is invented, and the verdict names the cause.

use std::time::Duration;

use e2e::emulator::{Slot, cut_power};
use e2e::{Lab, Record};
use serde_json::Value;

const SMALL_IMAGE: &str = "test-busybox-nokernel.ext4";

/// The same with the kernel's modules, the watchdog's among them.
const LARGE_IMAGE: &str = "test-busybox.ext4";

const SUITES: usize = 5;
const CASES: usize = 20;

/// How the board dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Panic,
    Restart,
    AgentKilled,
    PowerCut,
}

/// A plan of 100 cases. Each tells the bare line when the agent has acknowledged it; `death` is started in the
/// background before the first.
fn job(death: &str) -> String {
    let mut tests = String::new();
    for suite in 0..SUITES {
        let death = if suite == 0 { death } else { "" };
        tests += &format!(
            r#"  - name: suite-{suite}
    run: |
      echo "begun suite-{suite}" > /dev/ttyAMA0
      {death}
      for number in $(seq 0 {last}); do
        result=pass
        [ $((number % 4)) != 3 ] || result=fail
        lava-test-case case-$number --result $result
        echo "done suite-{suite} case-$number" > /dev/ttyAMA0
      done
"#,
            last = CASES - 1
        );
    }
    format!(
        "name: deaths\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ntests:\n{tests}timeout: 10m\n"
    )
}

#[test]
fn twenty_deaths_at_random_moments() {
    let seeds: Vec<u32> = match std::env::var("PUMICE_SEED") {
        Ok(seed) => vec![seed.parse().expect("PUMICE_SEED is a number")],
        Err(_) => (0..20).collect(),
    };
    // Two at a time: that many places there are.
    let next = std::sync::Mutex::new(seeds.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    die(seed);
                }
            });
        }
    });
}

/// A restart that the job expects is none: the plan goes on behind it, and each boot has its kernel's log and its clock.
#[test]
fn a_test_may_restart_the_board() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE));
    let (output, record) = lab.run(
        "name: restarts\nboard: {type: qemu-virt-armv7}\nboot_with: master\ntests:
  - {name: before, run: 'lava-test-case one --result pass'}
  - {name: restarts, run: 'reboot -f', expect: reboot, timeout: 3m}
  - {name: behind, run: 'lava-test-case two --result pass; cat /proc/uptime'}
timeout: 10m
",
    );
    output.exits_with(0);
    record.is_complete("passed", 0);
    lab.nothing_runs();
    let end = record.json("tests/restarts/results.json")["end"].to_string();
    assert_eq!(end, "\"rebooted\"");
    assert_eq!(record.events("case_ended").len(), 2);
    assert_eq!(record.text("kernel.log").matches("Booting Linux on physical CPU").count(), 3);
    assert_eq!(record.json("run.json")["clocks"].as_array().unwrap().len(), 3);
}

/// Nobody is left on the board but its init and the kernel: the dispatcher hears nothing more, and brings home what was
/// synced.
#[test]
fn a_test_that_kills_every_process_it_can() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE));
    let (output, record) = lab.run(
        "name: kills all\nboard: {type: qemu-virt-armv7}\nboot_with: master\ntests:
  - {name: before, run: 'lava-test-case one --result pass; echo said before'}
  - {name: kills, run: 'lava-test-case two --result pass; kill -9 -1; sleep 60'}
  - {name: never, run: 'true'}
timeout: 10m
",
    );
    output.exits_with(1);
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    let message = record.json("run.json")["errors"][0]["message"].to_string();
    assert!(message.contains("the test agent fell silent"), "{message}");
    assert_eq!(
        ["before", "kills", "never"].map(|suite| record.result(suite)),
        ["pass", "unknown", "unknown"]
    );
    let cases = record.events("case_ended");
    let names: Vec<_> = cases.iter().map(|case| case["case"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(record.text("tests/before/stdout.log"), "said before\n");
}

/// The watchdog that the job asks for is fed by the agent; when that hangs, the board comes back by itself, and the run says
/// so.
#[test]
fn a_board_that_hangs_is_restarted_by_its_watchdog() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs(LARGE_IMAGE));
    let (output, record) = lab.run(
        "name: watchdog\nboard: {type: qemu-virt-armv7}\nboot_with: master\nwatchdog: 10s\ntests:
  - {name: fed, run: 'sleep 25; lava-test-case fed --result pass'}
  - {name: hangs, run: 'sync; kill -STOP $(pidof @pumice-agent); sleep 100'}
timeout: 10m
",
    );
    output.exits_with(1);
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    assert_eq!(["fed", "hangs"].map(|suite| record.result(suite)), ["pass", "unknown"]);
    let run = record.json("run.json");
    let message = run["errors"][0]["message"].to_string();
    assert!(message.contains("the board was restarted") && message.contains("hangs"), "{message}");
    assert!(!run["warnings"].to_string().contains("watchdog"), "{run:#}");
    assert!(record.text("console.raw").contains("softdog"), "it was the watchdog");
}

fn die(seed: u32) {
    let _slot = Slot::take();
    eprintln!("again: PUMICE_SEED={seed} cargo test -p e2e --test deaths twenty");
    let death =
        [Death::Panic, Death::Restart, Death::AgentKilled, Death::PowerCut][seed as usize % 4];
    // Any moment of the plan, which takes some 4 s; by Knuth's multiplicative hash.
    let after = Duration::from_millis(u64::from(seed.wrapping_mul(2_654_435_761) >> 20) % 4000);
    let lab = Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE));
    let command = match death {
        Death::Panic => "echo c > /proc/sysrq-trigger",
        Death::Restart => "reboot -f",
        Death::AgentKilled => "kill -9 $(pidof @pumice-agent)",
        Death::PowerCut => ":",
    };
    // Not in the test's process group, which ends with it.
    let command =
        format!("setsid sh -c 'usleep {}; {command}' > /dev/null 2>&1 &", after.as_micros());
    lab.write("job.yaml", job(&command));
    let run = lab.start(&["run", "job.yaml", "--out", "runs"]);
    if death == Death::PowerCut {
        run.wait_for_stderr("test suite-0 …");
        std::thread::park_timeout(after);
        cut_power(&lab);
    }
    let output = run.wait();
    let record = lab.record();
    let message = check(&record, death, seed, after);
    assert_ne!(output.status, 0, "{death:?}: {message}");
    lab.nothing_runs();
}

fn check(record: &Record, death: Death, seed: u32, after: Duration) -> String {
    let about = format!("seed {seed}, {death:?} after {after:?}, {}", record.path().display());
    let console = record.text("console.raw");
    let ended = record.events("case_ended");
    for suite in 0..SUITES {
        let suite = format!("suite-{suite}");
        let known: Vec<&Value> =
            ended.iter().filter(|case| case["suite"] == suite.as_str()).collect();
        let acknowledged = (0..CASES)
            .filter(|number| {
                console.contains(&format!("done {suite} case-{number}\n"))
                    || console.contains(&format!("done {suite} case-{number}\r"))
            })
            .count();
        assert!(known.len() >= acknowledged, "{about}: {suite}: {} of {acknowledged}", known.len());
        // At most the one that was under way.
        assert!(
            known.len() <= acknowledged + 1,
            "{about}: {suite}: {} and {acknowledged}",
            known.len()
        );
        for (number, case) in known.iter().enumerate() {
            assert_eq!(case["case"], format!("case-{number}"), "{about}");
            let result = if number % 4 == 3 { "fail" } else { "pass" };
            assert_eq!(case["result"], result, "{about}");
        }
    }
    let run = record.json("run.json");
    let text = run.to_string();
    let has_died = ended.len() < SUITES * CASES;
    if has_died {
        let cause = match death {
            Death::Panic => "the kernel panicked",
            Death::Restart => "the board was restarted",
            Death::AgentKilled => "the agent was killed while it ran",
            Death::PowerCut => "went off",
        };
        assert!(text.contains(cause), "{about}: {run:#}");
    }
    text
}
