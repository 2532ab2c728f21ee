//! The agent of each architecture, as it goes onto boards, serves a session: on this machine's kernel, its processor
//! emulated by qemu-user where it is another one. What differs between architectures is the compiler's code, the C
//! library's layouts and the numbers of system calls: each of these is used here.

use std::fs;

use e2e::line::Line;
use e2e::program::agent_for;
use e2e::{Lab, Noise, random};
use serde_json::Value;

#[test]
fn armv7() {
    // The oldest ARMv7 that qemu knows: no division instructions.
    serves_a_session(
        "armv7-unknown-linux-musleabihf",
        &["qemu-arm", "-cpu", "cortex-a8"],
        "armv7l",
    );
}

#[test]
fn armv5te() {
    // It knows neither ldrex nor Thumb-2 nor floating-point registers.
    serves_a_session("armv5te-unknown-linux-musleabi", &["qemu-arm", "-cpu", "arm926"], "armv5te");
}

#[test]
fn aarch64() {
    serves_a_session("aarch64-unknown-linux-musl", &["qemu-aarch64"], "aarch64");
}

#[test]
fn x86_64() {
    // The oldest of them all, which knows no more than the triple promises.
    serves_a_session("x86_64-unknown-linux-musl", &["qemu-x86_64", "-cpu", "qemu64"], "x86_64");
}

/// With `machine` at the beginning of what `uname -m` says there.
fn serves_a_session(triple: &str, emulator: &[&str], machine: &str) {
    let agent = agent_for(triple);
    let line = Line::with_socket(Noise::default(), Noise::default());
    let partition = line.root().join("partition");
    let before = random(2 << 20, 1);
    fs::write(&partition, &before).unwrap();
    let label = format!("testrootfs={}", partition.display());
    let agent = line.agent_under(emulator, &agent, &["--partition", &label]);
    let lab = Lab::on_line(line.connection());

    let info: Value = json(lab.pumice(&["info", "here", "--json"]).exits_with(0).out());
    let kernel = info["kernel"].as_str().unwrap();
    let found = kernel.rsplit(' ').next().unwrap();
    assert!(found.starts_with(machine), "the emulated machine is {machine}: {kernel}");
    assert!(info["memory_kib"].as_u64() > Some(0), "{info:#}");

    // Both streams, what the agent's wait found out, and a signal's number.
    let words = ["exec", "here", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"];
    let output = lab.pumice(&words).exits_with(7);
    assert_eq!((output.out(), output.err()), ("to stdout\n".into(), "to stderr\n".into()));
    lab.pumice(&["exec", "here", "--", "sh", "-c", "kill -TERM $$"]).exits_with(128 + 15);

    // There and back: each end checks the other's SHA-256.
    let sent = [random(70_000, 2), vec![b'a'; 200_000]].concat();
    lab.write("there", &sent);
    let remote = line.root().join("file").display().to_string();
    lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
    assert!(fs::read(&remote).unwrap() == sent, "pushed as it was");
    lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
    assert!(fs::read(lab.path("back")).unwrap() == sent, "pulled as it was");

    // Blocks that are there are kept or copied, new ones are packed: hashes, the plan's steps and the unpacker.
    let image = [&random(12 * 1024, 3)[..], &before[..1 << 20], &b"text ".repeat(20_000)].concat();
    let image = &image[..image.len() / 4096 * 4096];
    lab.write("image", image);
    let report = json(lab.pumice(&["deploy", "here", "image", "--json"]).exits_with(0).out());
    let disk = fs::read(&partition).unwrap();
    assert!(disk[..image.len()] == *image, "the partition is the image");
    assert!(disk[image.len()..] == before[image.len()..], "and no more");
    assert!(report["bytes"]["copied"].as_u64() > Some(900_000), "{report:#}");
    drop(agent);
}

fn json(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
