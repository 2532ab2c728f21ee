//! The test agent on the emulated board: cases, and every source apart, whatever a test does.

use std::collections::HashMap;

use e2e::Lab;
use e2e::emulator::{Images, Slot};
use serde_json::Value;
use sha2::{Digest, Sha256};

const SMALL_IMAGE: &str = "test-busybox-nokernel.ext4";

/// The same with room on it.
const LARGE_IMAGE: &str = "test-busybox.ext4";

/// A job on the small test image, which is on the disk already; `keys` are more keys of the job.
fn job(tests: &str, keys: &str) -> String {
    format!(
        "name: e2e\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ntests:\n{tests}timeout: 10m\n{keys}"
    )
}

fn lab_with_test_image() -> Lab {
    Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE))
}

fn cases(record: &e2e::Record, suite: &str) -> Vec<Value> {
    record.events("case_ended").into_iter().filter(|case| case["suite"] == suite).collect()
}

/// The kernel prints on the very UART, anywhere between the frames, and every line of every source is in its place.
#[test]
fn two_hundred_cases_while_the_kernel_prints_every_50_ms() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let (output, record) = lab.run(&job(
        r#"  - name: cases
    run: |
      dmesg -n 8
      (
        number=0
        while [ ! -e /stop ]; do
          echo "<4>wire: kernel-like line $number" > /dev/kmsg
          number=$((number + 1))
          usleep 50000
        done
      ) &
      number=0
      while [ $number -lt 200 ]; do
        lava-test-case case-$number --shell "echo out $number; echo err $number >&2; exit $((number % 3 == 2))"
        number=$((number + 1))
      done
      touch /stop
      wait
      dmesg -r > "$LAVA_RESULT_DIR/dmesg"
    timeout: 5m
"#,
        "",
    ));
    output.exits_with(1);
    record.is_complete("failed", 1);
    lab.nothing_runs();
    let found = cases(&record, "cases");
    assert_eq!(found.len(), 200);
    let (out, err) =
        (record.bytes("tests/cases/stdout.log"), record.bytes("tests/cases/stderr.log"));
    let (mut all_out, mut all_err) = (String::new(), String::new());
    for (number, case) in found.iter().enumerate() {
        assert_eq!(case["case"], format!("case-{number}"));
        let is_bad = number % 3 == 2;
        assert_eq!(case["result"], if is_bad { "fail" } else { "pass" }, "{case:#}");
        assert_eq!(case["end"]["exited"]["status"], u8::from(is_bad), "{case:#}");
        assert!(case["rusage"]["max_rss_kib"].as_u64().unwrap() > 0, "{case:#}");
        let range = |name: &str, all: &[u8]| {
            let at = |end: &str| case[name][end].as_u64().unwrap() as usize;
            String::from_utf8(all[at("from")..at("to")].to_vec()).unwrap()
        };
        let (of_out, of_err) = (format!("out {number}\n"), format!("err {number}\n"));
        assert_eq!(
            (range("stdout", &out), range("stderr", &err)),
            (of_out.clone(), of_err.clone())
        );
        all_out += &of_out;
        all_err += &of_err;
    }
    assert_eq!(String::from_utf8(out).unwrap(), all_out);
    assert_eq!(String::from_utf8(err).unwrap(), all_err);

    // The kernel's log as the board itself has it, byte for byte, in the file and, line by line, on the timeline.
    let dmesg = record.text("tests/cases/dmesg");
    let log = record.text("kernel.log");
    assert!(dmesg.lines().count() > 250, "{dmesg}");
    let first = dmesg.lines().next().unwrap();
    let from = log.rfind(first).unwrap_or_else(|| panic!("{first}: not in\n{log}"));
    assert!(log[from..].starts_with(&dmesg), "kernel.log differs from dmesg");
    let wires: Vec<String> =
        record.timeline("kernel").into_iter().filter(|text| text.starts_with("wire: ")).collect();
    for (number, text) in wires.iter().enumerate() {
        assert_eq!(text, &format!("wire: kernel-like line {number}"));
    }
    assert!(wires.len() > 100, "{}", wires.len());
    // On the timeline each line of output is its case's.
    for line in record.json_lines("timeline.ndjson").iter().filter(|line| line["suite"] == "cases")
    {
        let number = line["text"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(line["case"], format!("case-{number}"), "{line}");
    }
    // And it was on the wire: with the frames all around it.
    assert!(record.text("console.raw").contains("wire: kernel-like line 100"));
}

#[test]
fn binary_output_long_lines_and_a_clock_set_back() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs(LARGE_IMAGE));
    let (output, record) = lab.run(&job(
        r#"  - name: binary
    run: |
      noise() { head -c 300000 /bin/busybox; head -c 1048576 /dev/zero | tr '\000' x; echo; }
      noise
      noise | sha256sum > "$LAVA_RESULT_DIR/sha256"
      printf '\377\376\000 \033[2J\r\n\303' >&2
  - name: clock
    run: |
      lava-test-case before --result pass
      date -s '2001-01-01 00:00'
      lava-test-case after --result pass --measurement -1.5e3 --units ms
      echo still in order
"#,
        "",
    ));
    output.exits_with(0);
    record.is_complete("passed", 0);
    lab.nothing_runs();
    let bytes = record.bytes("tests/binary/stdout.log");
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(record.text("tests/binary/sha256").starts_with(&digest), "{} bytes", bytes.len());
    assert_eq!(record.bytes("tests/binary/stderr.log"), b"\xff\xfe\0 \x1b[2J\r\n\xc3");
    let measured = &cases(&record, "clock")[1];
    assert_eq!((&measured["measurement"], &measured["units"]), (&(-1500.0).into(), &"ms".into()));
    // No time of the timeline is of that year, and the order is that of what happened.
    let lines = record.json_lines("timeline.ndjson");
    assert!(lines.iter().all(|line| !line["host_time"].as_str().unwrap().starts_with("2001")));
    let order: Vec<&str> = lines
        .iter()
        .filter(|line| line["suite"] == "clock")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(order.last(), Some(&"still in order"));
}

/// A test that fills the disk loses no result that the board acknowledged, and the run says what was lost.
#[test]
fn a_full_root_file_system() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let (_, record) = lab.run(&job(
        r#"  - name: full
    run: |
      lava-test-case before --result pass
      dd if=/dev/zero of=/fill bs=4096 2>/dev/null || true
      for number in 0 1 2 3 4 5 6 7 8 9; do
        if lava-test-case full-$number --result pass; then echo "done full-$number" > /dev/ttyAMA0; fi
        seq 1 2000
      done
      rm /fill
  - {name: behind, run: 'echo there is room again'}
"#,
        "",
    ));
    lab.nothing_runs();
    let names: Vec<String> = cases(&record, "full")
        .iter()
        .map(|case| case["case"].as_str().unwrap().to_owned())
        .collect();
    let console = record.text("console.raw");
    for number in 0..10 {
        let name = format!("full-{number}");
        if console.contains(&format!("done {name}")) {
            assert!(names.contains(&name), "{name} was acknowledged: {names:?}");
        }
    }
    assert_eq!(record.text("tests/behind/stdout.log"), "there is room again\n");
    assert_eq!(record.result("behind"), "pass");
    let warnings = record.json("run.json")["warnings"].to_string();
    assert!(warnings.contains("root file system"), "the loss is told: {warnings}");
}

/// Real reports of the kernel, and texts that only look like one.
#[test]
fn what_the_kernel_reports_is_tied_to_the_case_that_ran() {
    let _slot = Slot::take();
    let lab = lab_with_test_image();
    let (output, record) = lab.run(&job(
        r#"  - name: memory
    run: |
      lava-test-case hog --shell "tail /dev/zero"
      lava-test-case quiet --shell true
  - name: pretender
    run: |
      echo "<0>Kernel panic - not syncing: only said so" > /dev/kmsg
      echo "<0>------------[ cut here ]------------" > /dev/kmsg
      echo "Kernel panic - not syncing: only printed"
"#,
        "kernel: {oom: fail}\n",
    ));
    output.exits_with(1);
    record.is_complete("failed", 1);
    lab.nothing_runs();
    let reports = record.events("kernel_report");
    assert_eq!(reports.len(), 1, "{reports:#?}");
    let report = &reports[0];
    assert_eq!(
        (&report["kind"], &report["policy"], &report["suite"], &report["case"]),
        (&"oom".into(), &"fail".into(), &"memory".into(), &"hog".into()),
        "{report:#}"
    );
    assert!(report["text"].as_str().unwrap().contains("Killed process"), "{report:#}");
    assert_eq!(record.result("pretender"), "pass");
}

/// Each source of the list, on an image of systemd.
#[test]
fn every_source_of_debian() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Debian);
    let (output, record) = lab.run(
        "name: sources\nboard: {type: qemu-virt-armv7}\ntests:
  - name: sources
    run: |
      until [ -S /run/systemd/private ]; do sleep 0.2; done
      echo to standard output
      echo to standard error >&2
      echo '<5>to the kernel log' > /dev/kmsg
      echo to the user console > /dev/console
      echo to the raw line > /dev/ttyAMA0
      sleep 1
    timeout: 3m
timeout: 10m
",
    );
    output.exits_with(0);
    record.is_complete("passed", 0);
    lab.nothing_runs();
    let lines = record.json_lines("timeline.ndjson");
    let mut sources: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        sources.entry(line["source"].as_str().unwrap()).or_default().push(text);
    }
    for (source, text) in [
        ("stdout", "to standard output"),
        ("stderr", "to standard error"),
        ("kernel", "to the kernel log"),
        ("user_console", "to the user console"),
        ("console", "to the raw line"),
    ] {
        assert!(sources[source].contains(&text), "{source}: {:?}", sources[source]);
        let elsewhere: Vec<_> = sources
            .iter()
            .filter(|(name, texts)| {
                **name != source && texts.iter().any(|known| known.contains(text))
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(elsewhere.is_empty(), "{text} is also of {elsewhere:?}");
    }
    for source in ["boot_loader", "dispatcher", "agent"] {
        assert!(sources.contains_key(source), "the timeline has no {source}");
    }
    let is_systemds = |text: &&str| text.starts_with("Welcome to ") || text.contains("  OK  ");
    let said = &sources["user_console"];
    assert!(said.iter().any(is_systemds), "what systemd says on the console: {said:?}");
    let facility = lines.iter().find(|line| line["text"] == "to the kernel log").unwrap();
    assert_eq!((&facility["level"], &facility["facility"]), (&5.into(), &1.into()), "{facility}");
}
