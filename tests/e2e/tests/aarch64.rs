//! The emulated board of 64 bits: the same jobs on another architecture, another kernel format and another agent.

use e2e::Lab;
use e2e::emulator::{self, AARCH64, Slot};

const SMALL_IMAGE: &str = "test-busybox-nokernel.ext4";

#[test]
fn a_whole_job() {
    let _slot = Slot::take();
    let lab = Lab::emulated_of(AARCH64, |_| {});
    let image = emulator::image_of(AARCH64, SMALL_IMAGE);
    let (output, record) = lab.run(&format!(
        "name: smoke\nboard: {{type: {AARCH64}}}\nboot_with: master\ndeploy:\n  rootfs: {}\ntests:\n{}",
        image.display(),
        "  - {name: machine, run: 'uname -m; tr \"\\0\" \"\\n\" < /proc/cmdline'}
  - {name: agent, run: 'head -c 20 /.pumice/agent | od -An -tx1'}
  - {name: case, run: 'lava-test-case one --result pass --measurement 64 --units bit'}
  - {name: fails, run: 'exit 3'}
timeout: 10m
"
    ));
    output.exits_with(1);
    record.is_complete("failed", 1);
    lab.nothing_runs();
    let suites = ["machine", "agent", "case", "fails"];
    assert_eq!(suites.map(|suite| record.result(suite)), ["pass", "pass", "pass", "fail"]);
    let machine = record.text("tests/machine/stdout.log");
    assert!(machine.starts_with("aarch64\n") && machine.contains("root=PARTLABEL=testrootfs"));
    // ELF, 64 bits, least significant byte first; e_machine is EM_AARCH64, 183 (the ELF specification for AArch64, §5.1).
    let header = record.text("tests/agent/stdout.log");
    let bytes: Vec<&str> = header.split_ascii_whitespace().collect();
    assert_eq!((&bytes[..6], bytes[18]), (&["7f", "45", "4c", "46", "02", "01"][..], "b7"));
    let board = record.json("board.json");
    assert!(board["kernel"].as_str().unwrap().ends_with(" aarch64"), "{board:#}");
    let kernel = record.text("kernel.log");
    assert_eq!(kernel.matches("Booting Linux on physical CPU").count(), 2);
}

/// A real GRUB, which U-Boot starts as an EFI firmware would: its menu, and lines longer than its screen is wide.
#[test]
fn grub_is_driven_on_its_serial_console() {
    let _slot = Slot::take();
    let lab = Lab::emulated_of(AARCH64, |disk| {
        let grub = std::fs::read(emulator::image_of(AARCH64, "grubaa64.efi")).unwrap();
        disk.put_master_file("/efi/boot", "bootaa64.efi", grub);
        disk.put_master_file("/EFI/debian", "grub.cfg", GRUB_CFG);
    });
    lab.change_type(AARCH64, |text| {
        let (before, rest) = text.split_once("boot_loader:\n").unwrap();
        let (_, after) = rest.split_once("kernel_args:\n").unwrap();
        [before, GRUB, "kernel_args:\n", &after.replace("boot_loader: 30s", "boot_loader: 90s")]
            .concat()
    });
    let output = lab.pumice(&["exec", "qemu-01", "--", "cat", "/proc/cmdline"]).exits_with(0);
    lab.nothing_runs();
    // The menu's own entry says something else, so it was not what booted.
    let expected = "BOOT_IMAGE=(hd0,gpt1)/boot/vmlinuz console=ttyAMA0 root=PARTLABEL=master rw";
    assert!(output.out().starts_with(expected), "{}", output.out());
}

const GRUB_CFG: &str = "set timeout=5\nmenuentry \"not this one\" {\n\tlinux /nowhere\n}\n";

/// In place of the type's boot loader. U-Boot begins, and what is sent to it would stop it.
const GRUB: &str = "boot_loader:
  kind: grub
  banner: \"U-Boot \"
  commands:
    master: &boot
      - linux (hd0,gpt{boot_part}){boot_dir}vmlinuz {bootargs}
      - initrd (hd0,gpt{boot_part}){boot_dir}initrd.img
      - boot
    test: *boot
";
