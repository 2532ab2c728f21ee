//! A boot loader that is sent files: typed at, fed, and typed at again.

use super::*;
use crate::board::Upload;
use crate::board::boot_loader::{Driver, Report, Want};

const T: Instant = Instant::ZERO;
const CONTENT: &[u8] = &[7; 3000];
const READY: &[u8] =
    b"\r\n## Ready for binary (ymodem) download to 0x40400000 at 115200 bps...\r\n";

/// A driver that waits for its first command, `loady`, to be typed.
fn driver(baud: Option<u32>) -> Driver {
    let mut driver = Driver::new(boot_loader_spec(), deadlines());
    let commands = vec!["loady ${kernel_addr_r}".to_owned(), "bootz ${kernel_addr_r}".to_owned()];
    let upload = Upload { command: 0, name: "kernel".into(), content: CONTENT.into() };
    driver.set_revival(commands, vec![upload], baud);
    driver.reset();
    driver.ask(T, Want::Boot(Slot::Master));
    driver.handle_text(T, b"\r\n=> ");
    driver.handle_timeout(T + Duration::from_secs(1));
    assert_eq!(driver.poll_report(), Some(Report::AtPrompt));
    driver
}

/// It has typed that.
fn typed(mut driver: Driver, expected: &str) -> Driver {
    let command = driver.poll_transmit(T).unwrap();
    assert_eq!(String::from_utf8_lossy(&command), expected);
    assert_eq!(driver.sent_bytes(), None);
    driver.handle_text(T, &command);
    assert_eq!(driver.poll_transmit(T).unwrap(), b"\n");
    driver
}

fn receiving() -> Driver {
    typed(driver(None), LOADY)
}

/// Goes on to the next thing that it waits for.
fn pass(driver: &mut Driver) {
    let at = driver.poll_timeout().unwrap();
    driver.handle_timeout(at);
}

fn prompt(driver: &mut Driver, text: &[u8]) {
    driver.handle_text(T, text);
    driver.handle_text(T, b"pumice-rc=0\r\n=> ");
    pass(driver);
}

/// Takes the whole file, as U-Boot does.
fn take(driver: &mut Driver) {
    driver.handle_text(T, b"C");
    assert_eq!(driver.poll_block().unwrap().len(), 133);
    driver.handle_text(T, b"\x06C");
    for (number, length) in [(1, 1029), (2, 1029), (3, 1029)] {
        let block = driver.poll_block().unwrap();
        assert_eq!((block[1], block.len()), (number, length));
        assert_eq!(driver.sent_bytes(), Some(u64::from(number - 1) * 1024));
        driver.handle_text(T, b"\x06");
    }
    assert_eq!(driver.poll_block().unwrap(), [4]);
    driver.handle_text(T, b"\x06\x06C");
    assert_eq!(driver.poll_block().unwrap().len(), 133);
    driver.handle_text(T, b"\x06");
}

fn failed(driver: &mut Driver) -> String {
    match driver.poll_report() {
        Some(Report::Failed(Cause::BootLoader, text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_sent_and_the_next_command_typed() {
    let mut driver = receiving();
    driver.handle_text(T, READY);
    assert_eq!(driver.poll_block(), None, "it has not called yet");
    take(&mut driver);
    driver.handle_text(T, b"## Total Size      = 0x00000bb8 = 3000 Bytes\r\npumice-rc=0\r\n=> ");
    assert_eq!((driver.sent_bytes(), driver.is_loading()), (None, false));
    assert_eq!(driver.poll_transmit(T).unwrap(), b"bootz ${kernel_addr_r}");
    assert_eq!(driver.poll_report(), None);
}

#[test]
fn a_line_end_that_was_lost_is_typed_again() {
    let mut driver = receiving();
    driver.handle_timeout(T + Duration::from_secs(3));
    assert_eq!(driver.poll_transmit(T).unwrap(), b"\n");
    driver.handle_text(T, READY);
    driver.handle_timeout(T + Duration::from_secs(6));
    assert_eq!(driver.poll_transmit(T), None);
}

#[test]
fn a_boot_loader_that_takes_no_files_says_so() {
    let mut driver = receiving();
    driver.handle_text(T, b"\r\nUnknown command 'loady' - try 'help'\r\npumice-rc=1\r\n=> ");
    let text = failed(&mut driver);
    assert!(text.starts_with("\"loady ${kernel_addr_r}\""), "{text}");
    assert!(text.contains("Unknown command 'loady'"), "{text}");
    assert_eq!(driver.poll_block(), None, "nothing is sent to a prompt");
}

#[test]
fn a_transfer_that_fails_is_begun_again_and_not_for_ever() {
    let mut driver = receiving();
    for round in 1..=3 {
        driver.handle_text(T, READY);
        driver.handle_text(T, b"C");
        assert!(driver.poll_block().is_some());
        // Noise was taken for the end of the file.
        prompt(&mut driver, b"\x06\x06C\x06## Total Size      = 0x00000000 = 0 Bytes\r\n");
        if round < 3 {
            assert!(driver.is_loading() || driver.poll_report().is_none());
            driver = typed(driver, LOADY);
        }
    }
    let text = failed(&mut driver);
    assert!(text.contains("did not get its file in 3 tries"), "{text}");
    assert!(text.contains("0 Bytes"), "{text}");

    // The receiver gives up: it is told so too, as it may not have been heard, and the next try succeeds.
    let mut driver = receiving();
    driver.handle_text(T, READY);
    driver.handle_text(T, b"C");
    driver.handle_text(T, b"\x18\x18\x18\x18");
    assert!(driver.poll_block().unwrap().starts_with(&[0x18; 2]));
    prompt(&mut driver, b"## Total Size      = 0x00000400 = 1024 Bytes\r\n");
    let mut driver = typed(driver, LOADY);
    driver.handle_text(T, READY);
    take(&mut driver);
    prompt(&mut driver, b"## Total Size      = 0x00000bb8 = 3000 Bytes\r\n");
    assert_eq!(driver.poll_transmit(T).unwrap(), b"bootz ${kernel_addr_r}");
}

#[test]
fn a_file_whose_last_answers_were_lost_is_there() {
    let mut driver = receiving();
    driver.handle_text(T, READY);
    driver.handle_text(T, b"C");
    driver.poll_block();
    driver.handle_text(T, b"\x06C");
    for _ in 0..3 {
        assert!(driver.poll_block().is_some());
        driver.handle_text(T, b"\x06");
    }
    assert_eq!(driver.poll_block().unwrap(), [4]);
    prompt(&mut driver, b"## Total Size      = 0x00000bb8 = 3000 Bytes\r\n");
    assert_eq!(driver.poll_transmit(T).unwrap(), b"bootz ${kernel_addr_r}");
}

#[test]
fn a_silent_receiver_is_asked_to_end_and_then_given_up() {
    let mut driver = receiving();
    driver.handle_text(T, READY);
    let mut cancels = 0;
    for _ in 0..100 {
        if driver.poll_report().is_some_and(|report| matches!(report, Report::Failed(..))) {
            assert_eq!((cancels, driver.is_loading()), (3, false));
            return;
        }
        pass(&mut driver);
        cancels += usize::from(driver.poll_block().is_some_and(|bytes| bytes[0] == 0x18));
    }
    panic!("it waits for ever: {cancels}");
}

#[test]
fn a_file_is_dropped_when_nobody_wants_it() {
    let mut driver = receiving();
    driver.handle_text(T, READY);
    driver.handle_text(T, b"C");
    driver.poll_block();
    driver.drop_file(T);
    assert!(driver.poll_block().unwrap().starts_with(&[0x18; 2]));
    assert!(driver.is_loading());
    prompt(&mut driver, b"xyzModem - CRC mode\r\n## Total Size      = 0x00000000 = 0 Bytes\r\n");
    assert_eq!((driver.is_loading(), driver.poll_transmit(T)), (false, None));
}

#[test]
fn another_speed_is_asked_for_and_given_back() {
    let mut driver = typed(driver(Some(921_600)), FAST_LOADY);
    driver.handle_text(T, b"\r\n## Switch baudrate to 921600 bps and press ENTER ...\r\n");
    assert_eq!((driver.baud(), driver.poll_transmit(T)), (Some(921_600), None));
    pass(&mut driver);
    assert_eq!(driver.poll_transmit(T).unwrap(), b"\r");
    driver.handle_text(T, READY);
    take(&mut driver);
    driver.handle_text(T, b"## Total Size      = 0x00000bb8 = 3000 Bytes\r\n");
    driver.handle_text(T, b"## Switch baudrate to 115200 bps and press ESC ...\r\n");
    assert_eq!(driver.baud(), None);
    pass(&mut driver);
    assert_eq!(driver.poll_transmit(T).unwrap(), b"\x1B");
    prompt(&mut driver, b"");
    assert_eq!(driver.poll_transmit(T).unwrap(), b"bootz ${kernel_addr_r}");
}

#[test]
fn a_speed_that_cannot_be_had_is_not_asked_for_again() {
    let mut driver = typed(driver(Some(921_600)), FAST_LOADY);
    driver.handle_text(T, b"\r\n## Switch baudrate to 921600 bps and press ENTER ...\r\n");
    driver.handle_baud_failed("the adapter has no 921600 baud");
    assert!(failed(&mut driver).starts_with("the adapter has no 921600 baud"));
    assert_eq!(driver.baud(), None);
    driver.reset();
    driver.ask(T, Want::Boot(Slot::Master));
    driver.handle_text(T, b"\r\n=> ");
    driver.handle_timeout(T + Duration::from_secs(1));
    typed(driver, LOADY);
}

const LOADY: &str = "loady ${kernel_addr_r}; echo pumice-rc=$?";
const FAST_LOADY: &str = "loady ${kernel_addr_r} 921600; echo pumice-rc=$?";
