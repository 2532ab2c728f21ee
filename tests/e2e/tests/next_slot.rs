//! A board at whose boot loader nothing is typed: its agent writes which image boots next, and a real U-Boot reads it
//! (extlinux.conf, by its distro boot). The test image dies, and the board comes back by itself.

use e2e::Lab;
use e2e::emulator::{ARMV7, Slot};

#[test]
fn the_agent_chooses_the_image_and_a_dead_one_does_not_come_again() {
    let _slot = Slot::take();
    let lab = Lab::emulated_with(|disk| {
        disk.put_rootfs("test-busybox-nokernel.ext4");
        for name in ["extlinux.conf", "extlinux.master"] {
            disk.put_master_file("/boot/extlinux", name, MASTER);
        }
    });
    lab.change_board_type(|text| {
        let (before, rest) = text.split_once("boot_loader:\n").unwrap();
        let (_, after) = rest.split_once("kernel_args:\n").unwrap();
        [before, NEXT_SLOT, "kernel_args:\n", after].concat()
    });
    let (output, record) = lab.run(&format!(
        "name: chosen\nboard: {{type: {ARMV7}}}\nboot_with: master\ntests:
  - {{name: before, run: 'cat /proc/cmdline'}}
  - {{name: crash, run: 'until [ -e /tmp/undone ]; do sleep 0.2; done; sync; sleep 3; echo c > /proc/sysrq-trigger; sleep 60'}}
timeout: 10m\n"
    ));
    output.exits_with(1).says("sysrq triggered crash");
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    assert_eq!(["before", "crash"].map(|suite| record.result(suite)), ["pass", "fail"]);
    assert!(record.text("tests/before/stdout.log").contains("--role test --run "));
    let up: Vec<String> = record
        .events("phase")
        .iter()
        .map(|event| event["to"].as_str().unwrap().to_owned())
        .filter(|to| to.starts_with("up ") || to == "boot loader")
        .collect();
    // Had the choice still stood, the test image would have come up a second time.
    assert_eq!(up, ["up master", "up test", "up master"]);
}

const MASTER: &str = "default master\nlabel master\n\tkernel /boot/vmlinuz\n\tinitrd /boot/initrd.img\n\
    \tappend console=ttyAMA0 root=PARTLABEL=master rw init=/sbin/pumice-agent -- --role master\n";

/// As docs/boards.md has it; `/dev/vda1` is `master`. The test that kills the image waits until the choice was taken back.
const NEXT_SLOT: &str = r#"boot_loader: none
next_slot:
  master: cd /boot/extlinux && cp extlinux.master extlinux.new && mv extlinux.new extlinux.conf && sync
  test: >-
    cd /boot/extlinux && printf '%s\n' 'default test' 'label test' ' kernel {boot_dir}vmlinuz'
    ' initrd {boot_dir}initrd.img' ' append {bootargs}' > extlinux.new && mv extlinux.new extlinux.conf && sync
  undo: >-
    mount /dev/vda1 /mnt && cd /mnt/boot/extlinux && cp extlinux.master extlinux.new && mv extlinux.new extlinux.conf
    && cd / && umount /mnt && touch /tmp/undone
"#;
