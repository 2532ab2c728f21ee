//! An emulated board with a card that holds nothing comes back over its line: U-Boot's `loady`, an initramfs with the
//! agent in memory, and an image of the card.
//!
//! Its UART takes a tenth of a millisecond for each byte while U-Boot reads, so the kernel's 5 MiB come through the
//! emulator's firmware interface; nor does this UART survive a change of its speed in U-Boot.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use e2e::emulator::{ARMV7, Disk, Images, Slot, image, images};
use e2e::standing::Standing;
use e2e::{Lab, LabServer};
use nix::sys::signal::Signal;

/// A file beside the disk of the plain images.
fn baked(name: &str) -> String {
    fs::canonicalize(image(name)).unwrap().display().to_string()
}

/// The board type that ships, but its kernel comes through the emulator's firmware interface.
fn without_sent_kernel(text: &str) -> String {
    let send = "      - {send: kernel, with: \"loady ${kernel_addr_r}\"}\n";
    assert_eq!(text.matches(send).count(), 1, "it is sent in the board type that ships");
    text.replacen(send, "      - qfw load ${kernel_addr_r} ${ramdisk_addr_r}\n", 1)
}

/// U-Boot waits for a file (`cmd/load.c`).
const READY: &[u8] = b"## Ready for binary (ymodem) download";

#[test]
fn a_board_whose_card_is_empty_comes_back_over_the_line() {
    let _slot = Slot::take();
    let (initrd, kernel) = (baked("revive.cpio.xz"), baked("vmlinuz"));
    let lab = Lab::emulated_with(Disk::wipe_beginning);
    lab.change_board_type(|text| {
        let words = format!("    - -kernel\n    - {kernel}\n    - -bios\n");
        without_sent_kernel(&text).replacen("    - -bios\n", &words, 1)
    });
    lab.pumice(&["check", "lab.yaml", "types/changed.yaml"]).exits_with(0);

    // All that lies before the first partition and in it; what is behind it on the card, nobody lacks.
    let disk = images(Images::Plain).join(ARMV7).join("disk.img");
    let mut card = vec![0; Disk::at(&disk).offset("testboot") as usize];
    File::open(&disk).unwrap().read_exact_at(&mut card, 0).unwrap();
    lab.write("card.img", card);

    let revive = |words: &[&str]| {
        let words: Vec<&str> = ["revive", "qemu-01"].iter().chain(words).copied().collect();
        lab.start(&words)
    };
    // Without an image for the card nothing would be left of it.
    let refused = revive(&["--initrd", &initrd]).wait();
    refused.exits_with(2).says("add --master IMAGE or --card IMAGE");
    let refused = revive(&["--card", "card.img"]).wait();
    refused.exits_with(2).says("sends its initrd: add --initrd FILE");
    let refused = revive(&["--kernel", &kernel, "--initrd", &initrd, "--card", "card.img"]).wait();
    refused.exits_with(2).says("take --kernel out");

    let revived = revive(&["--initrd", &initrd, "--card", "card.img"]).wait();
    revived.exits_with(0).says("go over the line: about");
    // And again, from the card alone.
    let shown = lab.pumice(&["exec", "qemu-01", "--", "cat", "/proc/cmdline"]).exits_with(0);
    assert!(shown.out().contains("root=PARTLABEL=master"), "{}", shown.out());
    lab.nothing_runs();
}

/// A board of a lab elsewhere, which stays under power: whoever revives it gives up in the middle of a file, or dies there,
/// and the next command works at once.
#[test]
fn a_board_of_a_lab_elsewhere_is_revived_whoever_died_meanwhile() {
    let _slot = Slot::take();
    let (initrd, kernel) = (baked("revive.cpio.xz"), baked("vmlinuz"));
    let board = Standing::with_switch(Path::new(&kernel), Disk::wipe_master);
    let lab = Lab::new("");
    lab.change_type(ARMV7, |text| without_sent_kernel(&text));
    lab.write("lab.yaml", format!("board_types: types\nboards:\n{}", board.entry("far", ARMV7)));
    let master = Disk::at(&images(Images::Plain).join(ARMV7).join("disk.img"));
    lab.write("master.ext4", master.partition("master", "testboot"));
    let mut server = LabServer::start(lab);
    server.ask_elsewhere("ann", &["acquire", "far"]).exits_with(0);

    let words = ["revive", "far", "--initrd", &initrd];
    let in_the_middle = |server: &LabServer, signal| {
        let before = board.heard();
        let reviving = server.client_elsewhere("ann", &words, None);
        board.wait_until_heard(before + 100_000);
        reviving.signal(signal);
        reviving.wait()
    };
    let interrupted = in_the_middle(&server, Signal::SIGINT).exits_with(130);
    assert!(!interrupted.err().contains("warning"), "{}", interrupted.err());
    // The boot loader is at its prompt, for a person as well.
    let before = board.said();
    let typed = b"echo obeys${nothing}typing\r".to_vec();
    let console = server.client_elsewhere("ann", &["console", "far"], Some(typed));
    board.wait_for("\nobeystyping", before);
    console.signal(Signal::SIGINT);
    console.wait();

    in_the_middle(&server, Signal::SIGKILL);
    let before = board.heard();
    let words = [&words[..], &["--master", "master.ext4"]].concat();
    let reviving = server.client_elsewhere("ann", &words, None);
    board.wait_until_heard(before + 100_000);
    // The lab's dispatcher as well, whose boards are as they were when it is back.
    server.end(Signal::SIGKILL);
    server.start_again();
    reviving.wait().exits_with(0);
    let said = board.passed().from_board;
    let calls = said.windows(READY.len()).filter(|text| *text == READY).count();
    assert_eq!(calls, 3, "the last transfer went on where it was");
    let elsewhere = |words: &[&str]| server.ask_elsewhere("ann", words);
    let shown = elsewhere(&["exec", "far", "--", "cat", "/proc/cmdline"]).exits_with(0);
    assert!(shown.out().contains("root=PARTLABEL=master"), "{}", shown.out());
    elsewhere(&["release", "far"]).exits_with(0);
}
