//! Jobs of LAVA as they are, on the emulated board.

use e2e::emulator::Slot;
use e2e::{Lab, Record};

/// What LAVA does in six ways: a definition with parameters, what the kernel prints, a dialogue, a second boot, a test
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
- boot:
    method: u-boot
    commands: ramdisk
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
          - lava-test-case arguments --shell grep -q pumice.test=yes /proc/cmdline
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
    assert_eq!(case_of(&record, "kunit", "late"), "", "what comes behind the end is none");
    lab.nothing_runs();
}
