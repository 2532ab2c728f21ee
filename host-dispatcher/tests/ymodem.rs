//! The YMODEM sender against another's receiver: `rb` of lrzsz.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use host_dispatcher::board::ymodem::{Progress, Sender};
use host_dispatcher::io::clock;

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
    // So that a block can be sent again when nothing comes.
    let (tell, answers) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut answer = [0; 256];
        while let Ok(length @ 1..) = from.read(&mut answer) {
            if tell.send(answer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut sender = Sender::new(clock::now(), "kernel", content.clone());
    let mut blocks = 0;
    while sender.progress() != Progress::Done {
        match answers.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => sender.handle_bytes(clock::now(), &answer),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(_) => panic!("rb has left: {:?}", sender.progress()),
        }
        if sender.poll_timeout().is_some_and(|at| at <= clock::now()) {
            sender.handle_timeout(clock::now());
        }
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
    reader.join().unwrap();
    let status = receiver.wait().unwrap();
    // That of Debian 12 frees something twice at its very end where a block was damaged.
    assert!(status.success() || damage_one_in > 0, "{status}");
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
