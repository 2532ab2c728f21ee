//! An emulated board with a card that holds nothing comes back over its line: U-Boot's `loady`, an initramfs with the
//! agent in memory, and an image of the card.
//!
//! Its UART takes a tenth of a millisecond for each byte while U-Boot reads, so the kernel's 5 MiB come through the
//! emulator's firmware interface; nor does this UART survive a change of its speed in U-Boot.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use e2e::Lab;
use e2e::emulator::{ARMV7, Disk, Images, Slot, images};
use nix::sys::signal::Signal;

#[test]
fn a_board_whose_card_is_empty_comes_back_over_the_line() {
    let _slot = Slot::take();
    let baked = images(Images::Plain).join(ARMV7);
    let path = |name: &str| {
        let path = baked.join(name);
        assert!(path.is_file(), "{} is missing: bake it with cross/bake-image", path.display());
        fs::canonicalize(path).unwrap().display().to_string()
    };
    let (initrd, kernel) = (path("revive.cpio.xz"), path("vmlinuz"));
    let lab = Lab::emulated_with(Disk::wipe_beginning);
    lab.change_board_type(|text| {
        let send = "      - {send: kernel, with: \"loady ${kernel_addr_r}\"}\n";
        assert_eq!(text.matches(send).count(), 1, "it is sent in the board type that ships");
        let text = text.replacen(send, "      - qfw load ${kernel_addr_r} ${ramdisk_addr_r}\n", 1);
        text.replacen("    - -bios\n", &format!("    - -kernel\n    - {kernel}\n    - -bios\n"), 1)
    });
    lab.pumice(&["check", "lab.yaml", "types/changed.yaml"]).exits_with(0);

    // All that lies before the first partition and in it; what is behind it on the card, nobody lacks.
    let disk = baked.join("disk.img");
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

    let interrupted = revive(&["--initrd", &initrd, "--card", "card.img"]);
    // Most often it is in the middle of the file by then.
    std::thread::park_timeout(Duration::from_secs(3));
    interrupted.signal(Signal::SIGINT);
    interrupted.wait().exits_with(130);
    lab.nothing_runs();

    let revived = revive(&["--initrd", &initrd, "--card", "card.img"]).wait();
    revived.exits_with(0).says("go over the line: about");
    // And again, from the card alone.
    let shown = lab.pumice(&["exec", "qemu-01", "--", "cat", "/proc/cmdline"]).exits_with(0);
    assert!(shown.out().contains("root=PARTLABEL=master"), "{}", shown.out());
    lab.nothing_runs();
}
