//! Jobs of LAVA as they are, on the emulated board.

use std::io::{Read, Write};
use std::net::TcpListener;

use e2e::emulator::{Slot, run as run_program};
use e2e::{Lab, Record};

/// What LAVA does in eight ways: a test of the boot loader, commands for it, a definition with parameters, what the kernel prints, a dialogue, a second boot, a test
/// that is repeated, and kernel arguments.
const JOB: &str = r#"
job_name: everything that a LAVA job may ask for
device_type: qemu
context: {arch: arm, extra_kernel_args: pumice.test=yes}
visibility: public
priority: low
timeouts: {job: {minutes: 10}, action: {minutes: 3}, connection: {minutes: 1}}
metadata: {build: "17"}
environment: {FROM_JOB: one two}
actions:
- boot: {method: bootloader, bootloader: u-boot, commands: [], prompts: ['=> ']}
- test:
    interactive:
    - name: loader
      prompts: ['=> ']
      script:
      - {name: version, command: version, successes: [{message: 'U-Boot (?P<release>20[0-9.]+)'}]}
      - {name: no-such, command: 'frobnicate', failures: [{message: Unknown command}]}
      - {name: words, command: 'echo release {release}', successes: [{message: '^release 20'}]}
      - {command: setenv lost yes}
      - {name: restart, command: reset, wait_for_prompt: false, successes: [{message: 'resetting'}]}
      - {name: environment, command: 'printenv lost', successes: [{message: 'not defined'}]}
- boot:
    method: u-boot
    commands:
    - setenv made_by lava; tftp {KERNEL_ADDR} {KERNEL}
    - setenv bootargs 'console=ttyAMA0 root=/dev/ram0 pumice.typed=yes'
    - bootz {KERNEL_ADDR} - {DTB_ADDR}
    prompts: ['/ #', 'root@']
    auto_login: {login_prompt: 'login:', username: root}
    timeout: {minutes: 2}
- test:
    definitions:
    - from: inline
      name: definition
      path: inline/definition.yaml
      parameters: {WHO: world, IS_IT: true}
      repository:
        metadata: {format: Lava-Test Test Definition 1.0, name: definition}
        params: {WHO: nobody}
        run:
          steps:
          - test "$WHO $IS_IT" = "world True" && lava-test-case parameters --result pass
          - lava-test-case environment --shell '[ "$FROM_JOB" = "one two" ]'
          - lava-test-case arguments --shell grep -q 'pumice.test=yes pumice.typed=yes' /proc/cmdline
          - |
            for line in 'kunit begins' 'ok 1 - alpha' 'not ok 2 - Beta, the second' 'kunit ends' 'ok 3 - late'; do
              echo "$line" > /dev/kmsg
            done
- test:
    monitors:
    - name: kunit
      start: kunit begins
      end: kunit ends
      pattern: '(?P<result>(not )?ok) \d+ - (?P<test_case_id>.*)'
      fixupdict: {ok: pass, not ok: fail}
- test:
    interactive:
    - name: dialogue
      prompts: ['/ #']
      script:
      - command: cd /tmp; NAME=here
      - name: keeps-its-shell
        command: echo "$(pwd) $NAME"
        successes: [{message: '^/tmp here'}]
      - name: finds-a-failure
        command: echo all went wrong
        failures: [{message: wrong}]
- boot:
    method: u-boot
    commands: ramdisk
    prompts: ['/ #']
- test:
    repeat: 2
    definitions:
    - from: inline
      name: after
      path: inline/after.yaml
      repository:
        metadata: {format: Lava-Test Test Definition 1.0, name: after}
        run: {steps: [lava-test-case short-uptime --shell 'test $(cut -d. -f1 /proc/uptime) -lt 100']}
"#;

fn run(lab: &Lab, name: &str, text: &str, status: i32) -> Record {
    lab.write(name, text);
    let output = lab.pumice(&["run", name, "--out", "runs"]).exits_with(status);
    assert!(output.err().contains("a LAVA job"), "{}", output.err());
    lab.record()
}

/// The result of a case; empty if there is none of that name.
fn case_of(record: &Record, suite: &str, case: &str) -> String {
    let ended = record.events("case_ended");
    let found = ended.iter().find(|event| event["suite"] == suite && event["case"] == case);
    found.map_or_else(String::new, |event| event["result"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_job_of_version_2_runs_on_the_emulated_board() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs("test-busybox.ext4"));
    let record = run(&lab, "job.yaml", JOB, 1);
    record.is_complete("failed", 1);
    for (suite, case, result) in [
        ("loader", "version", "pass"),
        ("loader", "no-such", "fail"),
        ("loader", "words", "pass"),
        ("loader", "restart", "pass"),
        ("loader", "environment", "pass"),
        ("definition", "parameters", "pass"),
        ("definition", "environment", "pass"),
        ("definition", "arguments", "pass"),
        ("kunit", "alpha", "pass"),
        ("kunit", "beta_the_second", "fail"),
        ("dialogue", "keeps-its-shell", "pass"),
        ("dialogue", "finds-a-failure", "fail"),
        ("after", "short-uptime", "pass"),
        ("after-2", "short-uptime", "pass"),
    ] {
        assert_eq!(case_of(&record, suite, case), result, "{suite}/{case}");
    }
    assert_eq!(record.result("restart"), "pass");
    let console = record.bytes("console.raw");
    let console = String::from_utf8_lossy(&console);
    assert!(console.contains("setenv made_by lava"), "what the job's commands set is typed");
    lab.nothing_runs();
}

/// KernelCI's simplest: it boots. And kselftest: definitions in an archive of a server, results as KTAP.
#[test]
fn a_job_that_only_boots_and_kselftests_from_a_server() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| disk.put_rootfs("test-busybox.ext4"));
    let head = "device_type: qemu\ncontext: {arch: arm, kernel_loglevel: 7}\nvisibility: public\n\
        timeouts: {job: {minutes: 10}, action: {minutes: 4}, connection: {minutes: 1}}\n";
    let boot = "- boot: {method: qemu, media: tmpfs, prompts: ['/ #'], timeout: {minutes: 2}}\n";
    let job = format!("job_name: boots\n{head}actions:\n{boot}");
    let record = run(&lab, "boots.yaml", &job, 0);
    record.is_complete("passed", 0);
    assert_eq!(record.result("boot"), "pass");

    std::fs::create_dir_all(lab.path("kselftest/bin")).unwrap();
    lab.write("kselftest/timers.yaml", KSELFTEST);
    lab.write(
        "kselftest/bin/posix_timers.sh",
        "printf '# TAP version 13\\n# 1..1\\n# ok 1 raw\\n'\n",
    );
    let archive = lab.path("kselftest.tar.gz");
    let folder = lab.path("kselftest");
    let words =
        ["-czf".as_ref(), archive.as_os_str(), "-C".as_ref(), folder.as_os_str(), ".".as_ref()];
    run_program("tar", &words, "");
    let url = serve(std::fs::read(&archive).unwrap());
    std::fs::remove_dir_all(lab.path("runs")).unwrap();
    let job = format!(
        "job_name: kselftest\n{head}actions:\n{boot}- test:\n    timeout: {{minutes: 3}}\n    definitions:\n    \
         - from: url\n      repository: {url}\n      compression: gz\n      path: timers.yaml\n      name: timers\n      \
         parameters: {{COLLECTION: timers}}\n"
    );
    let record = run(&lab, "kselftest.yaml", &job, 1);
    record.is_complete("failed", 1);
    for (case, result) in [
        ("selftests: timers: posix_timers/raw", "pass"),
        ("selftests: timers: posix_timers", "pass"),
        ("selftests: timers: nanosleep", "fail"),
        ("selftests: timers: rtc", "skip"),
    ] {
        assert_eq!(
            case_of(&record, "timers", case),
            result,
            "{case}: {:?}",
            record.events("case_ended")
        );
    }
    lab.nothing_runs();
}

/// What a kselftest runner prints.
const KSELFTEST: &str = "\
metadata: {format: Lava-Test Test Definition 1.0, name: kselftest}
params: {COLLECTION: none}
run:
  steps:
  - |
    echo TAP version 13
    echo 1..3
    echo \"# selftests: $COLLECTION: posix_timers\"
    sh bin/posix_timers.sh
    echo \"ok 1 selftests: $COLLECTION: posix_timers\"
    echo \"# selftests: $COLLECTION: nanosleep\"
    echo \"not ok 2 selftests: $COLLECTION: nanosleep # exit=1\"
    echo \"# selftests: $COLLECTION: rtc\"
    echo \"ok 3 selftests: $COLLECTION: rtc # SKIP\"
";

/// The URL of a server on this host that gives these bytes to whoever asks.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/kselftest.tar.gz", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match client.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => head.extend_from_slice(&buffer[..length]),
                }
            }
            let length = bytes.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = client.write_all(answer.as_bytes()).and_then(|()| client.write_all(&bytes));
        }
    });
    url
}
