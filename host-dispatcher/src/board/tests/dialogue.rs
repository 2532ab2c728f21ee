//! The dialogue with U-Boot: every split of its text, echoes that are damaged, commands that fail.

use super::{U_BOOT, boot_loader_spec, deadlines};
use crate::board::boot_loader::*;
use crate::board::{Cause, RanEnd, Slot};
use agent_core::time::{Duration, Instant};

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn driver() -> Driver {
    Driver::new(boot_loader_spec(), deadlines())
}

fn typed(driver: &mut Driver, now: Instant) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = driver.poll_transmit(now) {
        all.extend(bytes);
    }
    String::from_utf8(all).unwrap()
}

/// Brings a driver to its prompt, asked to boot the master image.
fn at_prompt() -> Driver {
    at_prompt_of(Want::Boot(Slot::Master))
}

fn at_prompt_of(want: Want) -> Driver {
    let mut driver = driver();
    driver.ask(at(0), want);
    driver.handle_text(at(0), U_BOOT.as_bytes());
    assert_eq!(typed(&mut driver, at(0)), " ");
    driver.handle_text(at(10), b"\x08\x08\x08 0 \r\n=> ");
    driver.handle_timeout(at(60));
    assert_eq!(driver.poll_report(), Some(Report::AtPrompt));
    driver
}

/// Echoes what is typed; returns it.
fn echo(driver: &mut Driver, now: Instant) -> String {
    let text = typed(driver, now);
    driver.handle_text(now, text.replace('\n', "\r\n").as_bytes());
    text
}

#[test]
fn a_boot_by_the_book() {
    let mut driver = at_prompt();
    for command in ["virtio scan", "load virtio 0:1 ${kernel_addr_r} /boot/vmlinuz"] {
        assert_eq!(echo(&mut driver, at(100)), format!("{command}; echo pumice-rc=$?"));
        assert_eq!(echo(&mut driver, at(100)), "\n");
        driver.handle_text(at(110), b"1234 bytes read in 5 ms\r\npumice-rc=0\r\n=> ");
    }
    assert_eq!(echo(&mut driver, at(120)), "bootz ${kernel_addr_r}");
    assert_eq!(echo(&mut driver, at(120)), "\n");
    assert!(driver.is_launched());
    driver.handle_text(at(130), b"Kernel image @ 0x40400000\r\n\r\nStarting kernel ...\r\n\r\n");
    assert_eq!(driver.poll_report(), None);
    assert_eq!(driver.poll_timeout(), Some(at(120) + deadlines().kernel));
    driver.handle_timeout(at(120) + deadlines().kernel);
    assert!(
        matches!(driver.poll_report(), Some(Report::Failed(Cause::NoKernel, text)) if text.contains("Starting kernel"))
    );
}

#[test]
fn a_command_whose_output_is_wanted() {
    let mut driver = at_prompt_of(Want::Prompt);
    let ran = |driver: &mut Driver, command: &str, answer: &str| {
        assert!(driver.run(at(100), command));
        assert_eq!(echo(driver, at(100)), format!("{command}; echo pumice-rc=$?"));
        assert_eq!(echo(driver, at(100)), "\n");
        driver.handle_text(at(110), answer.as_bytes());
        driver.handle_timeout(at(200));
        driver.poll_ran().unwrap()
    };
    // Its banner is no restart; that it fails is nobody's business here.
    let banner = "U-Boot 2023.01\r\ngcc 12\r\npumice-rc=0\r\n=> ";
    let version = ran(&mut driver, "version", banner);
    assert_eq!(version.output, "U-Boot 2023.01\ngcc 12\n");
    assert_eq!(version.end, RanEnd::Prompt(Some(0)));
    let unknown = ran(&mut driver, "frob", "Unknown command 'frob'\r\npumice-rc=1\r\n=> ");
    assert_eq!(unknown.end, RanEnd::Prompt(Some(1)));
    // A restart shows at the automatic boot, which is stopped as ever.
    let restarted = ran(&mut driver, "reset", &format!("resetting ...\r\n{U_BOOT}"));
    assert!(restarted.output.starts_with("resetting ...\n"));
    assert!(matches!(restarted.end, RanEnd::Left(_)));
    assert_eq!(typed(&mut driver, at(210)), " ");
    assert!(!driver.run(at(210), "version"), "there is no prompt yet");
    driver.handle_text(at(220), b"\x08\x08\x08 0 \r\n=> ");
    driver.handle_timeout(at(300));
    // And where there is none, at a prompt that nobody's command brought.
    let silent = ran(&mut driver, "reset", "resetting ...\r\n\r\nU-Boot 2023.01\r\n\r\n=> ");
    assert!(matches!(silent.end, RanEnd::Left(_)));
    // The commands that boot are typed behind it as ever.
    driver.ask(at(400), Want::Boot(Slot::Test));
    assert!(typed(&mut driver, at(400)).starts_with("test scan"));
}

#[test]
fn nothing_is_typed_unless_asked_for() {
    let mut driver = driver();
    driver.handle_text(at(0), U_BOOT.as_bytes());
    driver.handle_timeout(at(100_000));
    assert_eq!(driver.poll_transmit(at(100_000)), None);
    driver.handle_text(at(100_000), b"\x08\x08\x08 0 \r\n=> ");
    driver.handle_timeout(at(200_000));
    assert_eq!(driver.poll_report(), Some(Report::AtPrompt));
    assert_eq!(driver.poll_transmit(at(200_000)), None);
    driver.ask(at(200_000), Want::Prompt);
    assert_eq!(driver.poll_transmit(at(200_000)), None);
}

#[test]
fn asked_for_during_the_countdown() {
    let mut driver = driver();
    driver.handle_text(at(0), U_BOOT.as_bytes());
    driver.ask(at(500), Want::Prompt);
    assert_eq!(typed(&mut driver, at(500)), " ");
}

/// The whole dialogue, split at every point, goes the same way.
#[test]
fn split_anywhere() {
    let answer = "=> virtio scan; echo pumice-rc=$?";
    let output = "\r\nfound\r\npumice-rc=0\r\n=> ";
    let begin = format!("{U_BOOT}\x08\x08\x08 0 \r\n");
    for text in [&begin[..], answer, output] {
        for split in 0..=text.len() {
            let mut driver = driver();
            driver.ask(at(0), Want::Boot(Slot::Master));
            let mut feed = |whole: &str, now: u64| {
                let cut = if whole == text { split } else { 0 };
                driver.handle_text(at(now), &whole.as_bytes()[..cut]);
                typed(&mut driver, at(now));
                driver.handle_text(at(now + 1), &whole.as_bytes()[cut..]);
                typed(&mut driver, at(now + 1))
            };
            feed(&begin, 0);
            // The prompt alone first: the command is only typed then.
            feed("=> ", 100);
            driver.handle_timeout(at(200));
            assert_eq!(driver.poll_report(), Some(Report::AtPrompt), "{split}");
            assert_eq!(typed(&mut driver, at(200)), answer[3..]);
            let cut = if text == answer { split.max(3) } else { 3 };
            driver.handle_text(at(201), &answer.as_bytes()[3..cut]);
            driver.handle_text(at(202), &answer.as_bytes()[cut..]);
            assert_eq!(typed(&mut driver, at(202)), "\n", "{split}");
            let cut = if text == output { split } else { 0 };
            driver.handle_text(at(203), &output.as_bytes()[..cut]);
            driver.handle_text(at(204), &output.as_bytes()[cut..]);
            assert!(typed(&mut driver, at(204)).starts_with("load virtio"), "{split}");
            assert_eq!(driver.poll_report(), None);
        }
    }
}

#[test]
fn errors_and_statuses_end_the_boot_early() {
    for (answer, quoted) in [
        (
            "Failed to load '/boot/vmlinuz'\r\n",
            "\"virtio scan\" failed: \"Failed to load '/boot/vmlinuz'\"",
        ),
        ("no device\r\npumice-rc=1\r\n", "\"virtio scan\" ended with status 1: \"no device\""),
    ] {
        let mut driver = at_prompt();
        echo(&mut driver, at(100));
        echo(&mut driver, at(100));
        driver.handle_text(at(110), answer.as_bytes());
        assert_eq!(driver.poll_report(), Some(Report::Failed(Cause::BootLoader, quoted.into())));
        driver.handle_text(at(120), b"=> ");
        driver.handle_timeout(at(1000));
        assert_eq!(driver.poll_transmit(at(1000)), None);
    }
}

#[test]
fn a_prompt_in_the_output_is_not_the_prompt() {
    let mut driver = at_prompt();
    echo(&mut driver, at(100));
    echo(&mut driver, at(100));
    driver.handle_text(at(110), b"=> ");
    driver.handle_text(at(120), b"is an arrow\r\n");
    driver.handle_timeout(at(1000));
    assert_eq!((driver.poll_report(), driver.poll_transmit(at(1000))), (None, None));
    driver.handle_text(at(1000), b"pumice-rc=0\r\n=> ");
    assert!(typed(&mut driver, at(1000)).starts_with("load virtio"));
}

#[test]
fn a_damaged_echo_is_thrown_away() {
    let mut driver = at_prompt();
    assert!(typed(&mut driver, at(100)).starts_with("virtio scan"));
    driver.handle_text(at(110), b"virtio san; echo pumice-rc=$?");
    assert_eq!(typed(&mut driver, at(110)), "");
    driver.handle_timeout(at(10_000));
    assert_eq!(typed(&mut driver, at(10_000)), "\x03");
    driver.handle_text(at(10_001), b"<INTERRUPT>\r\n=> ");
    driver.handle_timeout(at(10_100));
    // This time one character at a time, each when the one before it is back.
    let command = "virtio scan; echo pumice-rc=$?";
    for expected in command.chars() {
        assert_eq!(echo(&mut driver, at(10_100)), expected.to_string());
    }
    assert_eq!(echo(&mut driver, at(10_100)), "\n");
}

#[test]
fn a_line_end_that_nothing_answers_is_typed_again_and_never_behind_an_answer() {
    let mut driver = at_prompt();
    echo(&mut driver, at(100));
    assert_eq!(typed(&mut driver, at(100)), "\n");
    driver.handle_timeout(at(2100));
    assert_eq!(echo(&mut driver, at(2100)), "\n");
    driver.handle_timeout(at(10_000));
    assert_eq!(typed(&mut driver, at(10_000)), "");
}

#[test]
fn a_deaf_boot_loader_is_reported() {
    let mut driver = at_prompt();
    for round in 0..TYPING_TRIES {
        let now = 1000 + u64::from(round) * 100_000;
        typed(&mut driver, at(now));
        driver.handle_timeout(at(now + 50_000));
        driver.handle_text(at(now + 50_001), b"\r\n=> ");
        driver.handle_timeout(at(now + 50_100));
    }
    assert!(
        matches!(driver.poll_report(), Some(Report::Failed(Cause::BootLoader, text)) if text.contains("3 times"))
    );

    let mut driver = at_prompt();
    echo(&mut driver, at(100));
    echo(&mut driver, at(100));
    driver.handle_timeout(at(100) + deadlines().command);
    assert!(
        matches!(driver.poll_report(), Some(Report::Failed(Cause::BootLoader, text)) if text.contains("no prompt"))
    );
}

#[test]
fn a_countdown_that_cannot_be_stopped_is_reported() {
    let mut driver = driver();
    driver.ask(at(0), Want::Prompt);
    driver.handle_text(at(0), U_BOOT.as_bytes());
    for second in 0..u64::from(INTERRUPTS_MAX) {
        assert_eq!(typed(&mut driver, at(second * 1000)), " ");
        driver.handle_timeout(at((second + 1) * 1000));
    }
    assert!(matches!(driver.poll_report(), Some(Report::Failed(Cause::BootLoader, _))));
}

#[test]
fn one_character_at_a_time() {
    let mut spec = boot_loader_spec();
    spec.character_delay = Some(Duration::from_millis(10));
    spec.interrupt = b"stop".to_vec();
    let mut driver = Driver::new(spec, deadlines());
    driver.ask(at(0), Want::Prompt);
    driver.handle_text(at(0), U_BOOT.as_bytes());
    for (index, byte) in b"stop".iter().enumerate() {
        let now = at(index as u64 * 10);
        assert!(driver.poll_timeout().unwrap() <= now);
        assert_eq!(driver.poll_transmit(now), Some(vec![*byte]));
        assert_eq!(driver.poll_transmit(now), None);
    }
}

#[test]
fn another_image_is_wanted_in_the_middle() {
    let mut driver = at_prompt();
    echo(&mut driver, at(100));
    echo(&mut driver, at(100));
    driver.ask(at(100), Want::Boot(Slot::Test));
    driver.handle_text(at(110), b"pumice-rc=0\r\n=> ");
    assert!(typed(&mut driver, at(110)).starts_with("test scan"));
}
