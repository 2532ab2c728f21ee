//! The line of the emulated board, byte by byte: what the host says while the board starts, and what comes through while
//! somebody on the board floods it. Each test has a board that lives on between the programs that talk with it.

use e2e::emulator::Slot;
use e2e::standing::{Passed, Standing};
use e2e::{Output, random};
use nix::sys::signal::Signal;

const BANNER: &str = "U-Boot 20";
const BEACON: &str = "@pumice1 boot=";
const PROMPT: &str = "=> ";

/// Nobody answers at once when a board starts: a listener that gives up is followed by the next one.
fn when_up(board: &Standing, words: &[&str]) -> Output {
    for _ in 0..20 {
        let output = board.lab().pumice(&[&["exec", "here", "--"], words].concat());
        if output.status == 0 {
            return output;
        }
    }
    panic!("no agent answers")
}

/// From each banner of the boot loader to the beacon behind it nothing was said, the countdown ran out, and Linux came.
/// Returns how many there were.
fn starts_were_left_alone(passed: &Passed) -> usize {
    let (mut after, mut starts) = (0, 0);
    while let Some(banner) = passed.find(BANNER, after) {
        let beacon = passed.find(BEACON, banner).expect("a beacon behind the banner");
        let said = passed.host_between(banner, beacon);
        assert!(said.is_empty(), "said between banner and beacon: {said:02x?}");
        let countdown = passed.find("Hit any key to stop autoboot", banner).expect("a countdown");
        let linux = passed.find("Booting Linux on physical CPU", countdown).expect("a kernel");
        assert!(linux < beacon && passed.find(PROMPT, countdown).is_none_or(|at| at > linux));
        (after, starts) = (beacon, starts + 1);
    }
    starts
}

#[test]
fn nothing_is_said_to_a_board_that_starts() {
    let _slot = Slot::take();
    let board = Standing::start();
    // There from the first byte on.
    let first = when_up(&board, &["cat", "/proc/sys/kernel/random/boot_id"]).out();

    // The agent restarts the board, and the same program waits for it.
    board.lab().pumice(&["reboot", "here"]).exits_with(0);
    let second = when_up(&board, &["cat", "/proc/sys/kernel/random/boot_id"]).out();
    assert_ne!(first, second);

    // It resets by itself in an open session, while a command runs.
    let reset = "(sleep 3; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 < /dev/null &";
    let before = board.said();
    let words = ["exec", "here", "--", "sh", "-c", &format!("{reset} sleep 600")];
    let output = board.lab().pumice(&words);
    assert_ne!(output.status, 0, "{}", output.shown);
    board.wait_for(BANNER, before);
    let third = when_up(&board, &["cat", "/proc/sys/kernel/random/boot_id"]).out();
    assert_ne!(second, third);

    // A console that only listens never says a word, beacons or not.
    when_up(&board, &["sh", "-c", reset]);
    let (before, said) = (board.said(), board.passed().from_host.len());
    let console = board.lab().start_with(&["console", "here"], None);
    board.wait_for(BEACON, board.wait_for(BANNER, before));
    // Beacons go on.
    board.wait_for(BEACON, board.said());
    assert_eq!(board.passed().from_host.len(), said, "a console that nobody typed at");
    console.signal(Signal::SIGINT);
    let shown = console.wait();
    assert!(shown.out().contains("Hit any key to stop autoboot"), "{}", shown.out());
    assert_eq!(starts_were_left_alone(&board.passed()), 4);
}

#[test]
fn a_flood_on_the_agent_s_own_line_breaks_nothing() {
    let _slot = Slot::take();
    let board = Standing::start();
    let lab = board.lab();
    // Some sessions to play back: beacons, hellos, data of every kind.
    when_up(&board, &["true"]);
    let own = lab.write("own", random(30_000, 1));
    lab.pumice(&["push", "here", own.to_str().unwrap(), "/own"]).exits_with(0);
    lab.pumice(&["pull", "here", "/own", "back"]).exits_with(0);
    lab.pumice(&["exec", "here", "--", "dmesg"]).exits_with(0);
    let passed = board.passed();
    let agent = passed.find(BEACON, 0).expect("a beacon") as usize;
    let recorded = lab.write("recorded", &passed.from_board[agent..]);
    lab.pumice(&["push", "here", recorded.to_str().unwrap(), "/recorded"]).exits_with(0);

    let flood = "while [ -e /flood ]; do head -c 2000 /dev/urandom; head -c 300 /dev/zero; cat /recorded; done";
    let start = format!("touch /flood; ({flood}) > /dev/ttyAMA0 2> /dev/null < /dev/null &");
    lab.pumice(&["exec", "here", "--", "sh", "-c", &start]).exits_with(0);
    let flooded = board.said();

    let mut expected = String::new();
    for number in 1..=EXECS {
        let line = format!("echo {number} >> /lines; echo {number}");
        let output = lab.pumice(&["exec", "here", "--", "sh", "-c", &line]).exits_with(0);
        assert_eq!(output.out(), format!("{number}\n"));
        expected += &format!("{number}\n");
        if number % (EXECS / 4) == 0 {
            let bytes = random(20_000, number);
            let there = lab.write("there", &bytes);
            lab.pumice(&["push", "here", there.to_str().unwrap(), "/there"]).exits_with(0);
            let back = format!("back-{number}");
            lab.pumice(&["pull", "here", "/there", &back]).exits_with(0);
            assert!(
                std::fs::read(lab.path(&back)).unwrap() == bytes,
                "pulled is not what was pushed"
            );
        }
    }
    // In one session, too: as many lines typed at one shell.
    let typed: String =
        (1..=EXECS).map(|number| format!("echo {number} | tee -a /typed\n")).collect();
    let words = ["exec", "here", "--", "sh"];
    let output = lab.start_with(&words, Some(typed.into_bytes())).wait().exits_with(0);
    assert_eq!(output.out(), expected);
    let flooded = board.said() - flooded;
    lab.pumice(&["exec", "here", "--", "rm", "/flood"]).exits_with(0);
    let lines = lab.pumice(&["exec", "here", "--", "cat", "/lines"]).exits_with(0).out();
    assert!(lines == expected, "each command ran once, in order:\n{lines}");
    let lines = lab.pumice(&["exec", "here", "--", "cat", "/typed"]).exits_with(0).out();
    assert!(lines == expected, "each line was typed once, in order:\n{lines}");
    assert!(flooded > 1 << 20, "{flooded} bytes are no flood");
}

/// Commands in the flood.
const EXECS: u64 = 100;

#[test]
fn a_break_and_a_key_reach_the_kernel() {
    let _slot = Slot::take();
    let board = Standing::behind_telnet();
    // The emulator waits for whoever looks first. From here on the kernel reads its console.
    let console = board.lab().start(&["console", "here"]);
    console.wait_for_stdout("Run /init as init process");
    console.signal(Signal::SIGTERM);
    console.wait().exits_with(0);
    let output = board.lab().pumice(&["sysrq", "here", "h"]).exits_with(0);
    assert!(output.out().contains("sysrq: HELP : "), "{}", output.out());
}
