//! An update of a whole Debian on the emulated board, over a line as slow as a real one.
//!
//! The goal of deploy plans: the next version of an image, made anew so that nothing lies where it lay, in less than three
//! minutes at 115200 baud. What is asserted is the number of bytes on the line, which no other work of the machine changes.

use e2e::emulator::{Images, Slot, image, run};
use e2e::program::built;
use e2e::{Lab, Record};
use serde_json::Value;

/// Bits a second of the line.
const BAUD: u64 = 115_200;

/// Start, eight of data, stop.
const BITS_A_BYTE: u64 = 10;

/// What an update may take of it, in seconds.
const GOAL_SECONDS: u64 = 180;

/// The image on the board's disk, and its next version with the package jq.
const OLD: &str = "test-debian.ext4";
const NEW: &str = "test-debian-v2.ext4";

/// A job that deploys an image, waits until systemd has written what it writes, and runs one test more.
fn job(name: &str, test: &str) -> String {
    format!(
        "name: update\nboard: {{type: qemu-virt-armv7}}\ndeploy:\n  rootfs: {}\ntests:
  - name: settled
    run: |
      until [ -S /run/systemd/private ]; do sleep 0.2; done
      systemctl is-system-running --wait 2>&1 || true
      journalctl --sync
    timeout: 5m
  - {{name: proof, run: '{test}'}}
timeout: 30m
",
        image(name).display()
    )
}

/// Runs it, and returns what `deploy.json` says: that is there only when what was read back was the image.
fn run_job(lab: &Lab, name: &str, test: &str) -> (Record, Value) {
    let (output, record) = lab.run_into(name, &job(name, test));
    output.exits_with(0);
    record.is_complete("passed", 0);
    lab.nothing_runs();
    assert_eq!(record.result("proof"), "pass");
    let list = record.json("deploy.json");
    let [deployed] = &list.as_array().unwrap()[..] else { panic!("one image: {list:#}") };
    println!("{name}: {deployed:#}");
    let sha256 = run("sha256sum", &[image(name).as_os_str()], "");
    assert_eq!(deployed["sha256"], sha256[..64], "{deployed:#}");
    assert_eq!(deployed["plans"], 1, "read back and equal at once: {deployed:#}");
    let actions = record.events("action_ended");
    let deploy = actions.iter().find(|event| event["action"] == "deploy rootfs");
    assert_eq!(deploy.expect("it was an action")["outcome"], "done");
    (record, deployed.clone())
}

#[test]
fn debian_gets_a_package_over_a_line_of_115200_baud() {
    let _slot = Slot::take();
    let lab = Lab::emulated(Images::Debian);

    // It stands there already; its first boot makes a used one of it.
    let test = "! jq --version && seq 1 20000 > /var/log/own && sync";
    let (_, first) = run_job(&lab, OLD, test);
    assert_eq!(first["bytes"]["kept"], first["image_bytes"], "it was there: {first:#}");

    let words = format!(
        "    - {}\n    - --baud\n    - \"{BAUD}\"\n    - --\n    - qemu-system-arm\n",
        built("paced-line").display()
    );
    lab.change_board_type(|text| text.replacen("    - qemu-system-arm\n", &words, 1));
    let test = "jq --version && ! [ -e /var/log/own ]";
    let (record, second) = run_job(&lab, NEW, test);
    assert!(record.text("tests/proof/stdout.log").starts_with("jq-1."));
    let bytes = |key: &str| second[key].as_u64().unwrap();
    let line_bytes = bytes("line_bytes_out") + bytes("line_bytes_in");
    println!("{line_bytes} bytes, {} s of the line", line_bytes * BITS_A_BYTE / BAUD);
    assert!(line_bytes * BITS_A_BYTE < GOAL_SECONDS * BAUD, "{line_bytes} bytes: {second:#}");
}
