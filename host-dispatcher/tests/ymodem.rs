//! The YMODEM sender against another's receiver: `rb` of lrzsz.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent_core::time::Instant;
use host_dispatcher::board::ymodem::{Progress, Sender};

/// Sends a file to `rb`, with every so-manieth block damaged on its way, and checks what it has written down.
fn send(bytes: usize, damage_one_in: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Command::new("rb")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("rb is there: install lrzsz, or run ci/setup");
    let (mut to, mut from) = (receiver.stdin.take().unwrap(), receiver.stdout.take().unwrap());
    let content: Arc<[u8]> = (0..bytes).map(|at| (at.wrapping_mul(31) ^ at >> 8) as u8).collect();
    // The receiver has its own clock; this end needs none as long as nothing is lost.
    let now = Instant::ZERO;
    let mut sender = Sender::new(now, "kernel", content.clone());
    let (mut answer, mut blocks) = ([0; 256], 0);
    while sender.progress() != Progress::Done {
        let length = from.read(&mut answer).unwrap();
        assert!(length > 0, "rb has left: {:?}", sender.progress());
        sender.handle_bytes(now, &answer[..length]);
        while let Some(mut block) = sender.poll_transmit() {
            blocks += 1;
            if damage_one_in > 0 && blocks % damage_one_in == 0 && block.len() > 100 {
                block[77] ^= 0x20;
            }
            to.write_all(&block).unwrap();
        }
        assert!(!matches!(sender.progress(), Progress::Failed(_)), "{:?}", sender.progress());
    }
    drop(to);
    assert!(receiver.wait().unwrap().success());
    assert!(fs::read(folder.path().join("kernel")).unwrap() == *content, "byte by byte");
    sender.repeats()
}

#[test]
fn lrzsz_receives_files_of_any_size() {
    for bytes in [1, 128, 129, 1024, 1025, 300_001] {
        assert!(send(bytes, 0) <= 1, "only the end may be said twice");
    }
}

#[test]
fn lrzsz_has_damaged_blocks_sent_again() {
    assert!(send(20_000, 12) >= 1);
}
