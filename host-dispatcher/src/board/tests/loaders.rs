//! The boot loaders that are known, each with its own dialogue: what a real GRUB 2.06 and a real U-Boot sent (as they were
//! recorded on an emulated board), and what barebox sends by its source, since it cannot be had from Debian.
//!
//! [`Firmware`] echoes, loses characters and answers; the board types' own defaults say how it is talked to.

use super::deadlines;
use crate::board::Slot;
use crate::board::boot_loader::*;
use crate::board::spec::{BoardSpec, BootLoaderSpec};
use crate::config::board_type::BoardType;
use agent_core::time::{Duration, Instant};

/// The driver's view of a boot loader as a board type describes it: `boot_loader: {kind: …}` and the commands of both slots.
fn spec(boot_loader: &str) -> BootLoaderSpec {
    let text = format!(
        "name: t\nline: {{}}\npartitions: {{master: 1, testboot: 2, testrootfs: 3}}\n\
         kernel_args: {{master: m, test: t}}\nboot_loader:\n{boot_loader}\n"
    );
    let board_type = BoardType::from_str("t.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    BoardSpec::boot_loader_of(&board_type, "b").unwrap().unwrap()
}

/// A scripted boot loader at the other end of a driver, in virtual time.
struct Firmware {
    driver: Driver,
    now: Instant,
    /// How a character is echoed at a column.
    echo: fn(&mut String, char, usize),
    prompt: &'static str,
    line: String,
    typed: String,
    executed: Vec<String>,
    /// Every so many characters one is lost, if the one before it came less than a millisecond earlier, or whenever it came.
    loses_one_in: Option<usize>,
    only_in_a_rush: bool,
    received: usize,
    last_at: Option<Instant>,
    at_prompt: bool,
    /// What it sends when a key is typed and it is not at its prompt yet, key by key.
    before: Vec<(&'static str, String)>,
    answer: fn(&str) -> String,
}

impl Firmware {
    fn new(spec: BootLoaderSpec, prompt: &'static str, begin: &str) -> Self {
        let mut driver = Driver::new(spec, deadlines());
        driver.ask(Instant::ZERO, Want::Boot(Slot::Master));
        driver.handle_text(Instant::ZERO, begin.as_bytes());
        Self {
            driver,
            now: Instant::ZERO,
            echo: |out, character, _| out.push(character),
            prompt,
            line: String::new(),
            typed: String::new(),
            executed: Vec::new(),
            loses_one_in: None,
            only_in_a_rush: false,
            received: 0,
            last_at: None,
            at_prompt: false,
            before: Vec::new(),
            answer: |command| {
                if command.contains("pumice-rc") { "pumice-rc=0\r\n".into() } else { String::new() }
            },
        }
    }

    /// Until the last command was given or it failed; ten virtual minutes at most.
    fn run(&mut self) -> Option<Report> {
        let end = Instant::ZERO + Duration::from_secs(600);
        while self.now < end {
            while let Some(bytes) = self.driver.poll_transmit(self.now) {
                bytes.into_iter().for_each(|byte| self.receive(byte));
                match self.driver.poll_report() {
                    None | Some(Report::AtPrompt) => {}
                    report => return report,
                }
            }
            if self.driver.is_launched() && self.executed.last().is_some_and(|c| c == "boot") {
                return None;
            }
            let Some(at) = self.driver.poll_timeout() else { break };
            self.now = Ord::max(at, self.now + Duration::from_micros(100));
            self.driver.handle_timeout(self.now);
            match self.driver.poll_report() {
                None | Some(Report::AtPrompt) => {}
                report => return report,
            }
        }
        panic!("neither booted nor failed; it executed {:?}", self.executed);
    }

    fn receive(&mut self, byte: u8) {
        // On a line of 115200 baud a character takes 87 µs.
        self.now = self.now + Duration::from_micros(87);
        self.typed.push(char::from(byte));
        self.received += 1;
        let is_rush = self
            .last_at
            .replace(self.now)
            .is_some_and(|last| self.now.since(last) < Duration::from_millis(1));
        if self.loses_one_in.is_some_and(|n| self.received.is_multiple_of(n))
            && (is_rush || !self.only_in_a_rush)
        {
            return;
        }
        if !self.at_prompt {
            let typed = self.typed.clone();
            if let Some(at) = self.before.iter().position(|(keys, _)| typed.ends_with(keys)) {
                let (_, answer) = self.before.remove(at);
                self.at_prompt = self.before.is_empty();
                self.says(&answer);
            }
            return;
        }
        let mut out = String::new();
        match byte {
            b'\r' | b'\n' => {
                let command = std::mem::take(&mut self.line);
                out = format!("\r\n{}{}", (self.answer)(&command), self.prompt);
                if command == "boot" {
                    out = "\r\n".into();
                }
                if !command.is_empty() {
                    self.executed.push(command);
                }
            }
            0x03 => {
                self.line.clear();
                out = format!("<INTERRUPT>\r\n{}", self.prompt);
            }
            // GRUB goes back and writes spaces over it.
            0x15 => {
                out = format!("\x1b[9;7H\x1b[9;7H{}\x1b[9;7H", " ".repeat(self.line.len()));
                self.line.clear();
            }
            byte => {
                (self.echo)(&mut out, char::from(byte), self.prompt.len() + self.line.len());
                self.line.push(char::from(byte));
            }
        }
        self.says(&out);
    }

    fn says(&mut self, text: &str) {
        self.driver.handle_text(self.now, text.as_bytes());
    }

    fn commands(&self) -> Vec<&str> {
        self.executed
            .iter()
            .map(|command| command.trim_end_matches("; echo pumice-rc=$?"))
            .collect()
    }
}

/// Recorded: Debian's GRUB 2.06-13+deb12u2 for arm64, started by U-Boot, on its EFI console.
const GRUB_MENU: &str = "\x1b[0;30;47m\x1b[?25hWelcome to GRUB!\r\n\r\r\n\r\x1b[0;37;40m\x1b[0;37;40m\
    \x1b[0;37;40merror: no such device: /.disk/info.\r\n\r\x1b[?25l\x1b[0;37;40m\x1b[2J\x1b[1;1H\x1b[0;37;40m\
    \x1b[2;24HGNU GRUB  version 2.06-13+deb12u2\r\n\r\r\n\r\x1b[0;37;40m\x1b[4;2H\u{250c}\u{2500}\u{2500}\u{2510}\
    \x1b[5;2H\u{2502}\x1b[5;79H\u{2502}\x1b[19;2H\x1b[20;2H\x1b[0;37;40m     Use the \u{25b2} and \u{25bc} keys to \
    select which entry is highlighted.          \r\n\r      Press enter to boot the selected OS, `e' to edit the \
    commands       \r\n\r      before booting or `c' for a command-line.                           \x1b[5;80H \
    \x1b[0;30;47m\x1b[5;3H*master      \x1b[0;37;40m\x1b[5;78H\x1b[23;1H   The highlighted entry will be executed \
    automatically in 5s.                 \x1b[5;78H";
const GRUB_PROMPT: &str = "\x1b[23;1H          \x1b[24;1H          \x1b[5;78H\x1b[?25h\x1b[0;37;40m\x1b[2J\x1b[1;1H\
    \x1b[0;37;40m\x1b[2;24HGNU GRUB  version 2.06-13+deb12u2\r\n\r\r\n\r\x1b[?25h   Minimal BASH-like line editing is \
    supported. For the first word, TAB   \r\n\r   lists possible command completions. Anywhere else TAB lists possible\
    \r\n\r   device or file completions. ESC at any time exits.                     \r\n\r\r\n\r\r\n\rgrub> ";

const GRUB: &str = "  kind: grub
  commands:
    master:
      - linux (hd0,gpt{boot_part}){boot_dir}vmlinuz console=ttyAMA0 root=PARTLABEL=master rw init=/sbin/pumice-agent -- --role master
      - initrd (hd0,gpt{boot_part}){boot_dir}initrd.img
      - boot
    test: [boot]";

fn grub() -> Firmware {
    let mut firmware = Firmware::new(spec(GRUB), "\rgrub> ", GRUB_MENU);
    firmware.before = vec![("c", GRUB_PROMPT.into())];
    // As recorded: the cursor is placed behind each character, and a line end comes at the screen's edge.
    firmware.echo = |out, character, column| {
        // The prompt's carriage return takes no column.
        let (row, column) = (9 + (column - 1) / 80, (column - 1) % 80 + 1);
        out.push(character);
        if column >= 79 {
            out.push_str("\r\n\r");
        }
        out.push_str(&format!("\x1b[{row};{column}H\x1b[{row};{column}H"));
    };
    firmware
}

#[test]
fn grub_on_a_serial_line() {
    let mut firmware = grub();
    assert_eq!(firmware.run(), None);
    assert!(firmware.typed.starts_with("clinux "), "{}", firmware.typed);
    let commands = firmware.commands();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(commands[0].starts_with("linux (hd0,gpt1)/boot/vmlinuz console="), "{commands:?}");
    assert!(firmware.executed[0].len() > 100, "longer than the screen is wide");
    assert_eq!(commands[1..], ["initrd (hd0,gpt1)/boot/initrd.img", "boot"]);
}

/// GRUB's status is 0 for a command that does not exist; its error text is what tells.
#[test]
fn grub_s_errors() {
    for (answer, quoted) in [
        (
            "error: can't find command `linux'.\r\n\rpumice-rc=0\r\n",
            "failed: \"error: can't find command `linux'.\"",
        ),
        ("pumice-rc=5\r\n", "ended with status 5"),
    ] {
        let mut firmware = grub();
        let driver = &mut firmware.driver;
        let typed = |driver: &mut Driver| driver.poll_transmit(Instant::ZERO).unwrap_or_default();
        assert_eq!(typed(driver), b"c");
        driver.handle_text(Instant::ZERO, GRUB_PROMPT.as_bytes());
        driver.handle_timeout(Instant::from_micros(100_000));
        assert_eq!(driver.poll_report(), Some(Report::AtPrompt));
        let command = typed(driver);
        driver.handle_text(Instant::from_micros(100_000), &command);
        assert_eq!(typed(driver), b"\r");
        driver.handle_text(Instant::from_micros(100_000), format!("\r\n\r{answer}").as_bytes());
        let report = driver.poll_report();
        assert!(
            matches!(&report, Some(Report::Failed(_, text)) if text.contains(quoted)),
            "{report:?}"
        );
    }
}

#[test]
fn keys_that_came_too_late_are_thrown_away() {
    let mut firmware = grub();
    firmware.before = vec![("cc", [GRUB_PROMPT, "c\x1b[9;8H"].concat())];
    firmware.line = "c".into();
    assert_eq!(firmware.run(), None);
    assert!(firmware.typed.starts_with("cc\x15\rlinux "), "{:?}", firmware.typed);
}

/// In the shape of barebox 2023's common/startup.c and lib/readline.c.
const BAREBOX: &str = "  kind: barebox
  prompt: \"barebox@TI AM335x BeagleBone:/ \"
  commands:
    master: [detect mmc0, 'mount /dev/mmc0.0', boot]
    test: [boot]";

#[test]
fn barebox() {
    let begin = "\r\n\r\nbarebox 2023.06.0 #1 Thu Jun 8 09:12:33 UTC 2023\r\n\r\n\r\nBoard: TI AM335x BeagleBone\r\n\
        detected 'BeagleBone Black'\r\nmmc0: detected SD card version 2.0\r\nmalloc space: 0x8fe00000 -> 0x9fbfffff\r\n\
        \r\nHit m for menu or any to stop autoboot:  3";
    let prompt = "\x1b[1;32mbarebox@\x1b[1;31mTI AM335x BeagleBone:/\x1b[0m ";
    let mut firmware = Firmware::new(spec(BAREBOX), prompt, begin);
    firmware.before = vec![("\x03", format!("\r\n\r\n{prompt}"))];
    assert_eq!(firmware.run(), None);
    assert_eq!(firmware.commands(), ["detect mmc0", "mount /dev/mmc0.0", "boot"]);
    assert!(
        firmware.typed.starts_with("\x03detect mmc0; echo pumice-rc=$?\n"),
        "{:?}",
        firmware.typed
    );
}

const U_BOOT_COMMANDS: &str = "
  commands:
    master: [virtio scan, 'load virtio 0:1 ${kernel_addr_r} /boot/vmlinuz', 'setenv bootargs \"console=ttyAMA0 root=PARTLABEL=master rw\"', boot]
    test: [boot]";

/// U-Boot's bootmenu (cmd/bootmenu.c) counts down inside its menu; Ctrl-C leaves it for the prompt.
#[test]
fn u_boot_with_a_menu() {
    let menu = "  kind: u-boot\n  menu: {text: \"*** U-Boot Boot Menu ***\", keys: \"\\x03\"}";
    let begin = "\r\nU-Boot 2023.01 (Jan 01 2023 - 00:00:00 +0000)\r\n\r\nDRAM:  512 MiB\r\n";
    let mut firmware = Firmware::new(spec(&format!("{menu}{U_BOOT_COMMANDS}")), "=> ", begin);
    assert_eq!(firmware.driver.poll_transmit(firmware.now), None);
    firmware.before = vec![("\x03", "\x1b[2J\x1b[1;1H\x1b[?25h=> ".into())];
    firmware.says(
        "\x1b[?25l\x1b[2J\x1b[1;1H  *** U-Boot Boot Menu ***\x1b[3;1H\r\x1b[K     Boot from eMMC\x1b[4;1H\
         \r\x1b[K     U-Boot console\x1b[6;1H  Hit any key to stop autoboot:  5 \x1b[7;1H  Press UP/DOWN to move, \
         ENTER to select, ESC/CTRL+C to quit",
    );
    assert_eq!(firmware.run(), None);
    assert!(firmware.typed.starts_with("\x03virtio scan"), "{:?}", firmware.typed);
    assert_eq!(firmware.commands().len(), 4);
}

/// The countdown is stopped first, and then there is a menu.
#[test]
fn a_menu_behind_the_countdown() {
    let menu = "  kind: u-boot\n  interrupt: stop\n  menu: {text: \"Select:\", keys: \"0\"}";
    let begin = "\r\nU-Boot 2014.07\r\nHit any key to stop autoboot:  3 ";
    let mut firmware = Firmware::new(spec(&format!("{menu}{U_BOOT_COMMANDS}")), "=> ", begin);
    firmware.before =
        vec![("stop", "\r\n1: boot\r\n0: console\r\nSelect:".into()), ("0", "\r\n=> ".into())];
    assert_eq!(firmware.run(), None);
    assert!(firmware.typed.starts_with("stop0virtio scan"), "{:?}", firmware.typed);
}

#[test]
fn a_menu_that_keys_do_not_leave_is_reported() {
    let menu = "  kind: u-boot\n  menu: {text: \"Select:\", keys: \"0\"}";
    let mut firmware =
        Firmware::new(spec(&format!("{menu}{U_BOOT_COMMANDS}")), "=> ", "\r\nSelect:");
    firmware.before = vec![("never", String::new())];
    let report = firmware.run();
    assert!(
        matches!(&report, Some(Report::Failed(_, text)) if text.contains("menu")),
        "{report:?}"
    );
    assert_eq!(firmware.typed, "0", "keys are not typed twice");
}

/// A board that loses every 50th character however slowly it is typed at: what is lost is typed again.
#[test]
fn every_fiftieth_character_is_lost() {
    for delay in ["", "\n  character_delay: 2ms"] {
        let begin = "\r\nU-Boot 2023.01\r\nHit any key to stop autoboot:  2 ";
        let spec = spec(&format!("  kind: u-boot{delay}{U_BOOT_COMMANDS}"));
        let mut firmware = Firmware::new(spec, "=> ", begin);
        firmware.before = vec![(" ", "\x08\x08\x08 0 \r\n=> ".into())];
        firmware.loses_one_in = Some(50);
        assert_eq!(firmware.run(), None, "{delay}");
        assert_eq!(
            firmware.commands(),
            [
                "virtio scan",
                "load virtio 0:1 ${kernel_addr_r} /boot/vmlinuz",
                "setenv bootargs \"console=ttyAMA0 root=PARTLABEL=master rw\"",
                "boot"
            ]
        );
        assert!(firmware.now < Instant::from_micros(30_000_000), "{delay}: {:?}", firmware.now);
    }
}

/// One that only loses what comes in a rush (no FIFO): a pause keeps everything, and nothing is typed twice.
#[test]
fn a_pause_behind_each_character_keeps_what_a_rush_loses() {
    let begin = "\r\nU-Boot 2023.01\r\nHit any key to stop autoboot:  2 ";
    for (delay, typed_twice) in [("", true), ("\n  character_delay: 2ms", false)] {
        let spec = spec(&format!("  kind: u-boot{delay}{U_BOOT_COMMANDS}"));
        let mut firmware = Firmware::new(spec, "=> ", begin);
        firmware.before = vec![(" ", "\x08\x08\x08 0 \r\n=> ".into())];
        (firmware.loses_one_in, firmware.only_in_a_rush) = (Some(50), true);
        assert_eq!(firmware.run(), None, "{delay}");
        assert_eq!(firmware.commands().len(), 4);
        assert_eq!(firmware.typed.contains('\x03'), typed_twice, "{delay}: {:?}", firmware.typed);
    }
}

#[test]
fn without_an_echo_and_without_a_status() {
    let text = "  kind: other\n  banner: 'RedBoot(tm)'\n  autoboot: enter ^C to abort\n  interrupt: \"\\x03\"\n  \
        prompt: 'RedBoot> '\n  echo: none\n  errors: ['** Error']\n  commands: {master: [fis load k, boot], test: [boot]}";
    let begin = "\r\nRedBoot(tm) bootstrap\r\n== Executing boot script in 3.000 seconds - enter ^C to abort\r\n";
    let mut firmware = Firmware::new(spec(text), "RedBoot> ", begin);
    firmware.before = vec![("\x03", "^C\r\nRedBoot> ".into())];
    firmware.echo = |_, _, _| {};
    assert_eq!(firmware.run(), None);
    assert_eq!(firmware.executed, ["fis load k", "boot"]);
    firmware = Firmware::new(spec(text), "RedBoot> ", begin);
    firmware.before = vec![("\x03", "^C\r\nRedBoot> ".into())];
    firmware.echo = |_, _, _| {};
    firmware.answer = |_| "** Error: no image k\r\n".into();
    let report = firmware.run();
    assert!(
        matches!(&report, Some(Report::Failed(_, text)) if text.contains("no image k")),
        "{report:?}"
    );
}

/// The kernel that was started prints what looks like the prompt before its banner is known.
#[test]
fn a_prompt_inside_the_kernel_s_text() {
    let begin = "\r\nU-Boot 2023.01\r\nHit any key to stop autoboot:  2 ";
    let mut firmware =
        Firmware::new(spec(&format!("  kind: u-boot{U_BOOT_COMMANDS}")), "=> ", begin);
    firmware.before = vec![(" ", "\x08\x08\x08 0 \r\n=> ".into())];
    assert_eq!(firmware.run(), None);
    for piece in [
        "\r\nStarting kernel ...\r\n\r\n[    0.000000] mem: 0x0 => 0x100\r\n",
        "[    0.000000] => ",
        "\r\n=> ",
        "0x8000 [earlycon]\r\n",
    ] {
        firmware.says(piece);
        firmware.now = firmware.now + Duration::from_millis(40);
        firmware.driver.handle_timeout(firmware.now);
    }
    firmware.now = firmware.now + Duration::from_secs(5);
    firmware.driver.handle_timeout(firmware.now);
    assert_eq!(firmware.driver.poll_report(), None);
    assert_eq!(firmware.driver.poll_transmit(firmware.now), None);
    // Alone and followed by nothing, it is one: the boot command came back.
    firmware.says("=> ");
    firmware.now = firmware.now + Duration::from_millis(60);
    firmware.driver.handle_timeout(firmware.now);
    let report = firmware.driver.poll_report();
    assert!(
        matches!(&report, Some(Report::Failed(_, text)) if text.contains("came back")),
        "{report:?}"
    );
}
