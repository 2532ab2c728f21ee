//! The emulated board: real U-Boot, Debian's ARM kernel, the baked images. A minute or two each.
//!
//! A boot takes some ten seconds and a byte of an image 50 µs; so only one test deploys, and the others find their test
//! image on the disk.

use std::fs::File;
use std::process::Command;

use e2e::emulator::{self, Images, Slot};
use e2e::program::processes_with;
use e2e::{Lab, Record, released};
use nix::sys::signal::Signal;
use serde_json::Value;

const SMALL_IMAGE: &str = "test-busybox-nokernel.ext4";

/// A lab whose board has the small test image on its disk.
fn lab_with_test_image() -> Lab {
    Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE))
}

/// A job for it.
fn job(tests: &str) -> String {
    format!(
        "name: e2e\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ntests:\n{tests}timeout: 10m\n"
    )
}

const SECRET: &str = "it's a secret, 'tis so";

/// An emulated UART has no speed: the change is accepted, and nothing else.
#[test]
fn an_emulated_line_accepts_another_speed() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    lab.change_board_type(|text| {
        text.replacen("connection:\n", "connection:\n  session_baud: 921600\n", 1)
    });
    let output = lab.pumice(&["info", "qemu-01", "--json"]).exits_with(0);
    let info: Value = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(info["line"]["baud"], 921_600, "{info:#}");
    assert!(!output.err().contains("warning"), "{}", output.err());
    lab.nothing_runs();
}

/// The agent has a second UART for itself: the kernel and user space keep the console, and nothing is kept off it.
#[test]
fn an_agent_has_a_line_of_its_own() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let socket = lab.path("agents-line").display().to_string();
    lab.change_board_type(|text| {
        let emulator = "    - chardev:line\n";
        let second = format!(
            "{emulator}    - -chardev\n    - socket,id=agent,path={socket},server=on,wait=off\n    \
             - -device\n    - pci-serial,chardev=agent\n"
        );
        text.replacen(emulator, &second, 1)
            .replacen(
                "connection:\n",
                &format!("agent_connection: unix:{socket}\nconnection:\n"),
                1,
            )
            .replacen("--role master\n", "--role master --line /dev/ttyS0 --coding binary\n", 1)
            .replacen("--run {run}\n", "--run {run} --line /dev/ttyS0 --coding binary\n", 1)
    });
    let (output, record) = lab.run(&job("  - name: console
    run: |
      tr '\\t' ' ' < /proc/sys/kernel/printk
      echo to the console > /dev/console
      echo '<4>to the kernel' > /dev/kmsg
  - {name: much, run: 'head -c 300000 /dev/urandom | base64'}
"));
    output.exits_with(0);
    record.is_complete("passed", 0);
    lab.nothing_runs();
    let level = record.text("tests/console/stdout.log");
    assert!(!level.starts_with("1 "), "the console's level is the kernel's own: {level}");
    let console = record.timeline("console");
    for line in ["to the console", "to the kernel"] {
        assert!(console.iter().any(|text| text.ends_with(line)), "{line}: {console:?}");
    }
    assert!(record.timeline("kernel").iter().any(|text| text == "to the kernel"));
    assert!(record.timeline("boot_loader").iter().any(|text| text.starts_with("U-Boot 20")));
    let agents = record.timeline("agent_line");
    assert!(agents.iter().all(|text| text.starts_with("@pumice1 ")), "{agents:?}");
    assert!(!record.text("console.raw").contains("@pumice1 "));
}

/// A master image of the first release, whose agent hands over to today's. That is process 1 of the next boots, until it has no
/// start left; then it is the first release's again.
#[test]
fn an_image_with_the_first_release_gets_today_s_agent() {
    let _slot = Slot::take();
    let first = released::agent(&released::versions()[0], "armv7l");
    let mut today = Vec::new();
    let lab = Lab::emulated_with(|disk| {
        today = disk.master_file("/sbin/pumice-agent");
        disk.replace_master_file("/sbin/pumice-agent", &first);
    });
    let shell = |script: &str| lab.pumice(&["exec", "qemu-01", "--", "sh", "-c", script]);
    assert!(shell("cat /sbin/pumice-agent").exits_with(0).stdout == first);
    // Today's may be that of the release.
    lab.write("newer", [&today[..], b"another"].concat());
    let output = lab.pumice(&["hand-over", "qemu-01", "newer", "--persist"]).exits_with(0).out();
    assert!(output.contains("it is /sbin/pumice-agent from now on"), "{output}");
    // Its keeper too: it began as process 1.
    let who = "read p p p p r < /proc/$PPID/stat; readlink /proc/$PPID/exe; readlink /proc/$p/exe; ls /sbin/pumice-agent*";
    let script = format!("{who}; tail -c 7 /proc/$PPID/exe; : > /sbin/pumice-agent.trial; sync");
    let out = shell(&script).exits_with(0).out();
    let path = "/sbin/pumice-agent";
    assert_eq!(out, format!("{path}\n{path}\n{path}\n{path}.previous\nanother"));
    let out = shell(&format!("{who}; cat /proc/$PPID/exe")).exits_with(0).stdout;
    let previous = "/sbin/pumice-agent.previous";
    let names = format!("{previous}\n{previous}\n{path}\n{previous}\n{path}.trial\n");
    assert!(out == [names.as_bytes(), &first].concat());
    lab.nothing_runs();
}

/// A board's memory is for what is tested on it. Two processes: the agent and its keeper.
#[test]
fn the_agent_and_its_keeper_take_less_than_a_mebibyte_each() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    // Unlike VmRSS it is counted when it is asked for.
    let script = "cd /proc; for s in $(grep -l ^Name:.pumice- [0-9]*/status); do grep ^Rss: ${s%/*}/smaps_rollup; done";
    let out = lab.pumice(&["exec", "qemu-01", "--", "sh", "-c", script]).exits_with(0).out();
    let kib = |line: &str| line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok();
    let sizes: Vec<_> = out.lines().filter_map(kib).collect();
    assert_eq!(sizes.len(), 2, "{out}");
    assert!(sizes.iter().all(|kib| (1..1024).contains(kib)), "{out}");
    println!("Rss in KiB: {sizes:?}");
    lab.nothing_runs();
}

#[test]
fn a_whole_job_and_everything_that_it_leaves() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    let text = format!(
        "name: the whole life\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ndeploy:\n  rootfs: {}\nsecrets: {{TOKEN: \"{SECRET}\"}}\ntests:\n{}",
        emulator::image(SMALL_IMAGE).display(),
        "  - name: uname
    run: uname -a
    timeout: 30s
  - name: streams
    run: |
      echo to standard output
      echo to standard error >&2
      printf 'no line end'
  - name: kernel-log
    run: |
      echo \"a line for the kernel's log\" > /dev/kmsg
      echo a line for the console > /dev/console
      cat /proc/1/comm
  - name: secrets
    run: |
      test \"$(stat -c %a \"$PUMICE_SECRETS\")\" = 600
      ! env | grep TOKEN
      . /lava-*/secrets
      set -x
      test ${#TOKEN} -eq 22 && lava-test-case \"$TOKEN\" --result pass
      echo \"$TOKEN\" | tee /dev/kmsg > /dev/console
      echo \"$TOKEN\" > note; lava-test-case-attach secrets note
"
    );
    let (output, record) = lab.run(&text);
    let output = output.exits_with(0);
    assert!(output.out().contains("passed: 4 passed in "), "{}", output.out());
    record.is_complete("passed", 0);
    lab.nothing_runs();

    assert_eq!(record.text("job.yaml"), text.replace(SECRET, "(secret:TOKEN)"));
    let board = record.json("board.json");
    assert_eq!(
        (&board["board"], &board["board_type"]),
        (&"qemu-01".into(), &"qemu-virt-armv7".into())
    );
    assert!(board["kernel"].as_str().unwrap().ends_with(" armv7l"), "{board:#}");
    for label in ["master", "testboot", "testrootfs"] {
        assert!(board["partitions"].as_array().unwrap().contains(&label.into()), "{board:#}");
    }

    let phases: Vec<String> = record
        .events("phase")
        .iter()
        .map(|event| event["to"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "powering on",
        "boot loader",
        "booting master",
        "up master",
        "powering on",
        "boot loader",
        "booting test",
        "up test",
    ];
    assert_eq!(phases[..8], expected, "{phases:?}");
    assert_eq!(phases.last().unwrap(), "off");
    let actions: Vec<(String, Value)> = record
        .events("action_ended")
        .iter()
        .map(|event| (event["action"].as_str().unwrap().to_owned(), event["outcome"].clone()))
        .collect();
    let names: Vec<&str> = actions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["boot master", "deploy rootfs", "inject", "test", "collect"]);
    assert!(actions.iter().all(|(_, outcome)| outcome == "done"), "{actions:?}");

    suites_are_whole(&record);
    logs_are_whole(&record);
    console_is_text(&record);
    nothing_shows_the_secret(&record);

    let run = record.json("run.json");
    assert_eq!(run["errors"], Value::Array(Vec::new()));
    assert!(run["link"]["frames_in"].as_u64().unwrap() > 100, "{run:#}");
    assert_eq!(run["link"].get("overruns"), None, "{run:#}");
    for (index, slot) in ["master", "test"].iter().enumerate() {
        let clock = &run["clocks"][index];
        assert_eq!(clock["slot"], *slot, "{run:#}");
        assert!(clock["samples"].as_u64().unwrap() >= 1, "{clock:#}");
        assert!(clock["kernel_offset_us"].is_i64(), "the marker came back: {clock:#}");
    }
    let report = record.junit();
    assert_eq!(
        (
            report.name.as_ref().map(|name| name.as_str()),
            report.tests,
            report.failures,
            report.errors
        ),
        (Some("the whole life"), 4, 0, 0)
    );
    assert!(report.test_suites.iter().all(|suite| suite.test_cases.len() == 1));
}

fn suites_are_whole(record: &Record) {
    for suite in ["uname", "streams", "kernel-log"] {
        assert_eq!(record.result(suite), "pass");
        let results = record.json(&format!("tests/{suite}/results.json"));
        assert_eq!(results["end"]["exited"]["status"], 0, "{results:#}");
        for file in ["stdout.log", "stderr.log"] {
            let bytes = record.bytes(&format!("tests/{suite}/{file}")).len() as u64;
            let pieces = record.json_lines(&format!("tests/{suite}/output.ndjson"));
            let source = file.trim_end_matches(".log");
            let told = pieces.iter().filter(|piece| piece["source"] == source);
            let told: u64 = told.map(|piece| piece["bytes"].as_u64().unwrap()).sum();
            assert_eq!(told, bytes, "{suite}: output.ndjson tells of every byte of {file}");
        }
    }
    assert!(record.text("tests/uname/stdout.log").starts_with("Linux "));
    assert_eq!(record.text("tests/streams/stdout.log"), "to standard output\nno line end");
    assert_eq!(record.text("tests/streams/stderr.log"), "to standard error\n");
}

fn logs_are_whole(record: &Record) {
    let kernel = record.text("kernel.log");
    for line in kernel.lines() {
        let time = line.split_once(">[").and_then(|(level, rest)| {
            level.strip_prefix('<')?.parse::<u8>().ok()?;
            rest.split_once("] ")?.0.trim_start().parse::<f64>().ok()
        });
        assert!(time.is_some(), "the kernel's level and time are missing: {line}");
    }
    let boots = kernel.matches("Booting Linux on physical CPU").count();
    assert_eq!(boots, 2, "the kernel's records of both boots from the first on");
    let mounted = kernel.matches("mounted filesystem").count();
    assert!(mounted >= 2, "both kernels mounted their root");
    assert_eq!(kernel.matches("] a line for the kernel's log").count(), 1);

    let lines = record.json_lines("timeline.ndjson");
    for source in ["kernel", "stdout", "stderr", "console", "dispatcher", "boot_loader"] {
        assert!(lines.iter().any(|line| line["source"] == source), "the timeline has no {source}");
    }
    let output: Vec<&Value> = lines.iter().filter(|line| line["suite"] == "streams").collect();
    let mut texts: Vec<&str> = output.iter().map(|line| line["text"].as_str().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["no line end", "to standard error", "to standard output"]);
    for line in output {
        assert!(line["board_time_us"].as_u64().unwrap() > 1_000_000, "{line}");
        assert!(line["uncertainty_us"].as_u64().unwrap() < 10_000_000, "{line}");
    }
    let of_kernel = record.timeline("kernel").len();
    assert_eq!(of_kernel, kernel.lines().count(), "every record of the kernel is in both, once");
    assert!(record.text("dispatcher.log").contains("session with the test agent"));
}

/// Whatever is no frame is in `console.raw`, and no frame is.
/// Of what a test printed everywhere and kept in a file; the case has its mark for a name.
fn nothing_shows_the_secret(record: &Record) {
    assert_eq!(record.result("secrets"), "pass");
    for text in [SECRET, "tis so"] {
        let grep = Command::new("grep").args(["-rlF", text]).arg(record.path()).output().unwrap();
        let found = String::from_utf8_lossy(&grep.stdout);
        assert_eq!((grep.status.code(), &found[..]), (Some(1), ""), "{text}");
    }
    let case = &record.json("tests/secrets/results.json")["cases"][0];
    assert_eq!(
        (&case["case"], &case["result"]),
        (&"(secret:TOKEN)********".into(), &"pass".into())
    );
    for source in ["kernel", "user_console"] {
        let lines = record.timeline(source);
        assert!(lines.iter().any(|line| line.contains("(secret:TOKEN)")), "{source}: {lines:?}");
    }
}

fn console_is_text(record: &Record) {
    let console = record.bytes("console.raw");
    let text = String::from_utf8_lossy(&console);
    assert!(text.contains("U-Boot 20"), "the boot loader's banner");
    assert_eq!(
        text.matches("Booting Linux on physical CPU").count(),
        2,
        "both kernels' first line"
    );
    assert!(text.contains("Hit any key to stop autoboot"));
    // What others write to /dev/console is a source of its own while the agent is there.
    assert!(!text.contains("a line for the console"));
    assert!(record.timeline("user_console").contains(&"a line for the console".to_owned()));
    let strange: Vec<usize> = (0..console.len())
        .filter(|at| matches!(console[*at], 0x00 | 0x1E | 0x1F | 0x80..))
        .collect();
    let around = strange.first().map(|at| {
        let part = &console[at.saturating_sub(60)..(at + 60).min(console.len())];
        part.escape_ascii().to_string()
    });
    assert!(
        strange.is_empty(),
        "{} bytes of frames in console.raw, first: {around:?}",
        strange.len()
    );
}

#[test]
fn failures_and_timeouts_do_not_stop_the_tests_behind_them() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let (output, record) = lab.run(&job("  - {name: first, run: 'true'}
  - {name: fails, run: 'echo about to fail; exit 3'}
  - {name: killed, run: 'kill -9 $$'}
  - name: late
    run: |
      sleep 987 &
      echo $! > /late.pid
      echo $$ >> /late.pid
      trap '' TERM INT HUP
      sleep 987
      sleep 987
    timeout: 2s
  - name: after
    run: |
      for pid in $(cat /late.pid); do
        ! kill -0 $pid || exit 1
      done
      echo the group is gone
"));
    let output = output.exits_with(4);
    record.is_complete("Timeout", 4);
    lab.nothing_runs();
    let results = ["first", "fails", "killed", "late", "after"].map(|suite| record.result(suite));
    assert_eq!(results, ["pass", "fail", "fail", "fail", "pass"]);
    let ends = ["fails", "killed", "late"]
        .map(|suite| record.json(&format!("tests/{suite}/results.json"))["end"].to_string());
    assert_eq!(
        ends,
        [r#"{"exited":{"status":3}}"#, r#"{"signaled":{"signal":9}}"#, r#""timed_out""#]
    );
    assert_eq!(record.text("tests/after/stdout.log"), "the group is gone\n");

    let out = output.out();
    for row in ["first   pass ", "fails   fail ", "killed  fail ", "late    timeout "] {
        assert!(out.lines().any(|line| line.starts_with(row)), "{row}\n{out}");
    }
    assert!(out.contains("exit status 3") && out.contains("killed by signal 9"), "{out}");
    let report = record.junit();
    assert_eq!((report.tests, report.failures), (5, 3));
    let xml = record.text("results.junit.xml");
    for text in ["exit status 3", "killed by signal 9", r#"type="timeout""#] {
        assert!(xml.contains(text), "{text} is missing in\n{xml}");
    }
}

#[test]
fn a_panic_ends_the_run_and_the_results_before_it_come_home() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let (output, record) =
        lab.run(&job("  - {name: before, run: 'echo a result before the panic; seq 1 500 >&2'}
  - {name: crash, run: 'echo the last words; sync; sleep 1; echo c > /proc/sysrq-trigger; sleep 60'}
  - {name: never, run: 'true'}
"));
    let output = output.exits_with(1);
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    let run = record.json("run.json");
    assert_eq!(run["error_class"], "TestError");
    let errors = run["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.contains("panic") && message.contains("sysrq triggered crash"), "{message}");
    let tail = errors[0]["console_tail"].as_str().unwrap();
    assert!(tail.contains("Kernel panic - not syncing: sysrq triggered crash"), "{tail}");
    assert!(output.out().contains("sysrq triggered crash"), "{}", output.out());

    assert_eq!(
        ["before", "crash", "never"].map(|suite| record.result(suite)),
        // The kernel's report is the test's failure, though its end was not seen.
        ["pass", "fail", "unknown"]
    );
    assert_eq!(record.text("tests/before/stdout.log"), "a result before the panic\n");
    let numbers: String = (1..=500).map(|number| format!("{number}\n")).collect();
    assert_eq!(record.text("tests/before/stderr.log"), numbers);
    assert_eq!(record.text("tests/crash/stdout.log"), "the last words\n");
    let actions = record.events("action_ended");
    let through =
        actions.iter().find(|event| event["action"] == "collect through the master agent");
    assert_eq!(through.expect("the master agent brought it home")["outcome"], "done");
    let report = record.junit();
    assert!(report.test_suites.iter().any(|suite| suite.name.as_str() == "pumice.run"));
    assert!(record.text("results.junit.xml").contains("sysrq triggered crash"));
    assert!(
        record.text("console.raw").contains("Kernel panic - not syncing: sysrq triggered crash")
    );
}

#[test]
fn an_image_larger_than_its_partition_is_refused_before_a_byte_is_written() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    File::create(lab.path("large.img")).unwrap().set_len(3 << 30).unwrap();
    let text = "name: too large\nboard: {type: qemu-virt-armv7}\ndeploy: {rootfs: large.img}\ntests: [{name: a, run: b}]\n";
    let (output, record) = lab.run(text);
    output.exits_with(2).says("the image for testrootfs has 3221225472 bytes, and the partition testrootfs (/dev/vda3) has 1073741824: make the image smaller or the partition larger");
    record.is_complete("JobError", 2);
    lab.nothing_runs();
    assert_eq!(record.result("a"), "unknown");
    // The overlay has what was written since it was made: at the master image's place only.
    let overlay = lab.board_folder("qemu-01").join("disk.qcow2");
    let words = ["map", "--output=json", overlay.to_str().unwrap()];
    let map: Value =
        serde_json::from_str(&emulator::run("qemu-img", &words.map(AsRef::as_ref), "")).unwrap();
    let first_test_byte = 129 << 20;
    let written: Vec<&Value> = map
        .as_array()
        .unwrap()
        .iter()
        .filter(|extent| {
            extent["depth"] == 0 && extent["start"].as_u64().unwrap() >= first_test_byte
        })
        .filter(|extent| extent["start"].as_u64().unwrap() < first_test_byte + (1 << 30))
        .collect();
    assert!(written.is_empty(), "testrootfs was written to: {written:?}");
}

#[test]
fn an_agent_killed_in_the_master_image_is_reported_and_the_board_recovers() {
    let _slot = Slot::take();
    // The first boot's agents are killed again and again, none older than a second; later boots are as ever. What is deployed is
    // not there yet: the same again would take less than that second.
    let lab = Lab::emulated_with(|disk| {
        disk.change_master_file("/etc/init.d/rcS", |script| {
            format!("{script}\n[ -e /spared ] || {{ touch /spared; sync; (while :; do sleep 1; kill -9 $(pidof pumice-agent); done) & }}\n")
        });
    });
    let image = emulator::image(SMALL_IMAGE);
    let text = format!(
        "name: killed\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ndeploy:\n  rootfs: {}\ntests: [{{name: a, run: 'true'}}]\n",
        image.display()
    );
    let (output, record) = lab.run(&text);
    output.exits_with(3).says("InfrastructureError: ");
    record.is_complete("InfrastructureError", 3);
    lab.nothing_runs();
    let actions = record.events("action_ended");
    let deploy = actions.iter().find(|event| event["action"] == "deploy rootfs");
    assert!(deploy.is_none_or(|event| event["outcome"] != "done"), "{actions:#?}");

    // A command that kills its own agent, on the board as it is now.
    let kill = ["exec", "qemu-01", "--", "sh", "-c", "kill -9 $(pidof pumice-agent)"];
    lab.pumice(&kill).exits_with(3).says("pumice: InfrastructureError: ");
    lab.nothing_runs();
    // And the board is as good as before.
    let output =
        lab.pumice(&["exec", "qemu-01", "--", "cat", "/proc/sys/kernel/ostype"]).exits_with(0);
    assert_eq!(output.out(), "Linux\n");
    lab.nothing_runs();
}

#[test]
fn debian_with_systemd_is_tested_by_an_injected_agent() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Debian);
    let (output, record) = lab.run(
        "name: debian\nboard: {type: qemu-virt-armv7}\ntests:
  - name: settled
    run: |
      until [ -S /run/systemd/private ]; do sleep 0.2; done
      systemctl is-system-running --wait 2>&1 || true
      systemctl --failed --no-legend 2>&1 || true
    timeout: 3m
  - {name: init, run: 'cat /proc/1/comm; grep PRETTY /etc/os-release'}
  - name: agent
    run: cat /proc/*/cmdline | tr '\\0' '\\n' | grep -x '[@]pumice-agent'
  - name: getty
    run: |
      for process in /proc/[0-9]*; do
        case $(cat $process/comm 2>/dev/null) in
          *getty|login) echo $process; tr '\\0' ' ' < $process/cmdline; exit 1 ;;
        esac
      done
  - {name: unit-log, run: 'journalctl -b --no-pager | tail -n 50 || true'}
  - {name: fails, run: 'exit 9'}
timeout: 15m
",
    );
    let output = output.exits_with(1);
    record.is_complete("failed", 1);
    lab.nothing_runs();
    let suites = ["settled", "init", "agent", "getty", "unit-log", "fails"];
    assert_eq!(
        suites.map(|suite| record.result(suite)),
        ["pass", "pass", "pass", "pass", "pass", "fail"]
    );
    let init = record.text("tests/init/stdout.log");
    assert!(init.starts_with("systemd\nPRETTY_NAME=\"Debian GNU/Linux"), "{init}");
    let settled = record.text("tests/settled/stdout.log");
    assert!(settled.starts_with("running\n") || settled.starts_with("degraded\n"), "{settled}");
    assert_eq!(record.text("tests/agent/stdout.log"), "@pumice-agent\n");
    // The case that failed is named, for people and for other programs.
    let out = output.out();
    let row = out.lines().find(|line| line.starts_with("fails ")).expect("a row for it");
    assert!(row.contains("fail ") && row.ends_with("exit status 9"), "{out}");
    assert!(out.contains("\nfailed: 5 passed, 1 failed in "), "{out}");
    let xml = record.text("results.junit.xml");
    assert!(xml.contains(r#"<failure message="exit status 9""#), "{xml}");
    assert_eq!(record.text("kernel.log").matches("Booting Linux on physical CPU").count(), 2);
    assert!(
        record.text("kernel.log").contains("systemd[1]: "),
        "systemd's words in the kernel's log"
    );
}

#[test]
fn ctrl_c_ends_a_run_with_everything_in_its_place() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    lab.write(
        "job.yaml",
        job("  - {name: quick, run: 'echo done before'}
  - {name: long, run: 'sleep 900', timeout: 15m}
"),
    );
    let run = lab.start(&["run", "job.yaml", "--out", "runs"]);
    run.wait_for_stderr("test long …");
    assert!(!processes_with(&lab.folder().display().to_string()).is_empty(), "the emulator runs");
    run.signal(Signal::SIGINT);
    let output = run.wait().exits_with(130);
    let record = lab.record();
    record.is_complete("Canceled", 130);
    lab.nothing_runs();
    assert_eq!((record.result("quick"), record.result("long")), ("pass".into(), "unknown".into()));
    assert!(output.out().contains("Canceled"), "{}", output.out());
}

#[test]
#[ignore = "takes some 10 minutes: 14 MB go over the emulated line"]
fn an_image_with_its_own_kernel() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Plain);
    let (output, record) = lab.run(&format!(
        "name: own kernel\nboard: {{type: qemu-virt-armv7}}\ndeploy:\n  rootfs: {}\ntests: [{{name: uname, run: uname -a}}]\n",
        emulator::image("test-busybox.ext4").display()
    ));
    output.exits_with(0);
    record.is_complete("passed", 0);
    // U-Boot loads from the test image's own partition.
    assert!(record.text("console.raw").contains("load virtio 0:3 ${kernel_addr_r} /boot/vmlinuz"));
    lab.nothing_runs();
}
