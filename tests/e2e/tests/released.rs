//! Agents as they were released, on a pseudo-terminal: today's `pumice` drives each, and puts today's agent in its place. The
//! first of them in an image of the emulated board: `an_image_with_the_first_release_gets_today_s_agent` in `qemu.rs`.

// They were built for boards, and for this one architecture of hosts.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::line::Line;
use e2e::program::built;
use e2e::{Lab, Noise, random, released};
use serde_json::Value;

/// The released agent as a program.
fn program(version: &str, folder: &Path) -> PathBuf {
    let path = folder.join("released-agent");
    fs::write(&path, released::agent(version, "x86_64")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn info(lab: &Lab) -> Value {
    serde_json::from_str(&lab.pumice(&["info", "here", "--json"]).exits_with(0).out()).unwrap()
}

#[test]
fn commands_and_files() {
    for version in released::versions() {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let lab = Lab::on_line(line.connection());
        let _agent = line.agent_under(&[], &program(&version, lab.folder()), &[]);
        assert_eq!(info(&lab)["agent_version"], *version);

        let script = "cat; echo to standard error >&2; exit 7";
        let output = lab
            .start_with(&["exec", "here", "--", "sh", "-c", script], Some(b"input".to_vec()))
            .wait();
        let output = output.exits_with(7);
        assert_eq!(
            (output.out(), output.err().contains("to standard error")),
            ("input".into(), true)
        );

        let mut content = random(200_000, 1);
        lab.write("first", &content);
        lab.pumice(&["push", "here", "first", "/file"]).exits_with(0);
        // What the board has of it is kept.
        content[100_000..100_100].fill(b'x');
        lab.write("second", &content);
        lab.pumice(&["push", "here", "second", "/file"]).exits_with(0);
        lab.pumice(&["pull", "here", "/file", "back"]).exits_with(0);
        assert!(fs::read(lab.path("back")).unwrap() == content);
    }
}

#[test]
fn today_s_agent_takes_its_place() {
    for version in released::versions() {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let lab = Lab::on_line(line.connection());
        let old = program(&version, lab.folder());
        let agent = line.agent_under(&[], &old, &[]);
        let today = built("pumice-agent");
        lab.pumice(&["hand-over", "here", &today.display().to_string()]).exits_with(0);
        let runs = fs::read(format!("/proc/{}/exe", agent.pid())).unwrap();
        assert!(runs == fs::read(&today).unwrap(), "it runs under the old one's number");
        lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
        assert!(fs::read(&old).unwrap() == released::agent(&version, "x86_64"), "untouched");
        // And back: a lab that goes back to its version of before.
        lab.pumice(&["hand-over", "here", &old.display().to_string()]).exits_with(0);
        assert_eq!(info(&lab)["agent_version"], *version);
    }
}

/// In the master image, and injected into the one under test.
#[test]
fn a_whole_job() {
    for version in released::versions() {
        let lab = Lab::new("");
        let entry = lab.pty_entry_with("pty-01", &program(&version, lab.folder()));
        lab.write_boards(&[&entry], "");
        let image = random(1 << 20, 2);
        lab.write("testboot.img", &image);
        let (output, record) = lab.run(
            "name: released\nboard: {type: pty-board}\ndeploy: {boot: testboot.img}\ntests:
  - {name: streams, run: 'echo out; echo err >&2'}
  - name: cases
    run: |
      lava-test-case works --result pass
      lava-test-case broken --result fail
      echo kept > kept
      lava-test-case-attach works kept
  - {name: slow, run: 'sleep 900', timeout: 1s}
timeout: 5m
",
        );
        output.exits_with(4);
        assert_eq!(["streams", "slow"].map(|suite| record.result(suite)), ["pass", "fail"]);
        assert_eq!(record.text("tests/streams/stdout.log"), "out\n");
        assert_eq!(record.text("tests/streams/stderr.log"), "err\n");
        let results: Vec<_> =
            record.events("case_ended").iter().map(|case| case["result"].clone()).collect();
        assert_eq!(results, ["pass", "fail"]);
        assert!(fs::read(lab.path("boards/pty-01/testboot")).unwrap() == image);
        lab.nothing_runs();
    }
}
