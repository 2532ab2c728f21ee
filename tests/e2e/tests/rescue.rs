//! What is saved of an image under test that died, on the emulated board: its kernel's last words, kept in memory over a
//! restart, and its file system, damaged.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::emulator::{Slot, run};
use e2e::{Lab, Record};

const SMALL_IMAGE: &str = "test-busybox-nokernel.ext4";

/// Memory that no kernel uses, and that neither U-Boot nor a reset of the machine writes to.
const RAMOOPS: &str = "mem=448M ramoops.mem_address=0x5c000000 ramoops.mem_size=0x100000 \
    ramoops.record_size=0x20000 ramoops.ecc=1 ";

fn lab() -> Lab {
    Lab::emulated_with(|disk| disk.put_rootfs(SMALL_IMAGE))
}

fn job(tests: &str) -> String {
    format!(
        "name: rescue\nboard: {{type: qemu-virt-armv7}}\nboot_with: master\ntests:\n{tests}timeout: 10m\n"
    )
}

/// A power cycle would take it: the board restarts by itself, and is held at its boot loader.
#[test]
fn the_last_words_of_a_kernel_are_read_from_memory() {
    let _slot = Slot::take();
    let lab = lab();
    lab.change_board_type(|text| {
        let text = text.replace("master: console=", &format!("master: {RAMOOPS}console="));
        text.replace("    console=", &format!("    panic=1 {RAMOOPS}console="))
    });
    let (output, record) = lab.run(&job(
        "  - {name: before, run: 'grep ramoops /proc/modules; dmesg | grep ramoops; echo safe'}
  - {name: crash, run: 'echo \"a word for the end\" > /dev/kmsg; sync; sleep 1; echo c > /proc/sysrq-trigger; sleep 60'}
",
    ));
    output.exits_with(1);
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    assert!(record.text("tests/before/stdout.log").ends_with("safe\n"));
    assert!(record.text("console.raw").contains("Rebooting in 1 seconds"));
    let kept = record.text("pstore/dmesg-ramoops-0");
    assert!(kept.starts_with("Panic#1 Part1\n"), "{kept}");
    for text in ["a word for the end", "Kernel panic - not syncing: sysrq triggered crash"] {
        assert!(kept.contains(text), "{text} is not in\n{kept}");
    }
    // The raw line told the same panic: it is one.
    let reports = record.events("kernel_report");
    let panics = reports.iter().filter(|report| report["kind"] == "panic").count();
    assert_eq!(panics, 1, "{reports:#?}");
    let why = record.events("phase").into_iter().filter(|event| event["to"] == "powering on");
    let why: Vec<String> = why.map(|event| event["cause"].as_str().unwrap().to_owned()).collect();
    assert!(why.last().unwrap().contains("restarted by itself"), "{why:?}");
}

/// Power is cut in the middle; what is read afterwards is what a real kernel makes of the disk as it was left.
#[test]
fn a_journal_is_replayed_before_anything_is_read() {
    let (record, _lab) = cut_and_damage("journal", |_| {});
    let notes = record.text("events.ndjson");
    assert!(
        notes.contains("e2fsck on testrootfs: ") && notes.contains("recovering journal"),
        "{notes}"
    );
    let run = record.json("run.json");
    assert!(!run["warnings"].to_string().contains("damaged"), "{:#}", run["warnings"]);
    for file in ["first/stdout.log", "second/stdout.log"] {
        assert_eq!(record.text(&format!("tests/{file}")), lines());
    }
}

/// The place of a file's inode, and a folder's block, hold something else.
#[test]
fn of_a_damaged_file_system_what_can_be_read_is_saved_and_the_rest_is_named() {
    let (record, lab) = cut_and_damage("damage", |disk| {
        let suites = format!("/.pumice/runs/{}/tests", disk.run_name);
        let (block, offset) = disk.inode(&format!("{suites}/second/stdout.log"));
        disk.overwrite(block * disk.block_size + offset, 256);
        let block = disk.first_block(&format!("{suites}/third"));
        disk.overwrite(block * disk.block_size, disk.block_size);
    });
    let run = record.json("run.json");
    let warnings = run["warnings"].to_string();
    for text in [
        "the file system of testrootfs is damaged: ",
        "cannot be listed whole",
        "tests/second/stdout.log did not come home: ",
        "tests/third/stdout.log did not come home: ",
    ] {
        assert!(
            warnings.contains(text),
            "{text}: {:#}\n{}",
            run["warnings"],
            lab.folder().display()
        );
    }
    assert!(!warnings.contains("tests/first/"), "{:#}", run["warnings"]);
    // What was not hurt is whole, and so are the results.
    assert_eq!(record.text("tests/first/stdout.log"), lines());
    assert!(record.has("board/journal.ndjson"));
    assert_eq!(["first", "second", "third"].map(|suite| record.result(suite)), ["pass"; 3]);
}

fn lines() -> String {
    (1..=200).map(|number| format!("{number}\n")).collect()
}

/// The board's disk while it has no power.
struct Disk {
    overlay: PathBuf,
    /// A copy for debugfs, with where the partition begins.
    copy: String,
    partition: u64,
    block_size: u64,
    run_name: String,
}

impl Disk {
    fn debugfs(&self, command: &str) -> String {
        run("debugfs", &["-R".as_ref(), command.as_ref(), self.copy.as_ref()], "")
    }

    fn first_block(&self, path: &str) -> u64 {
        let blocks = self.debugfs(&format!("blocks {path}"));
        let first = blocks.split_whitespace().next().and_then(|block| block.parse().ok());
        first.unwrap_or_else(|| panic!("{path}: {blocks}"))
    }

    /// Block and offset.
    fn inode(&self, path: &str) -> (u64, u64) {
        let text = self.debugfs(&format!("imap {path}"));
        let place = text.split_once("located at block ").and_then(|(_, place)| {
            let (block, offset) = place.trim().split_once(", offset 0x")?;
            Some((block.parse().ok()?, u64::from_str_radix(offset, 16).ok()?))
        });
        place.unwrap_or_else(|| panic!("{path}: {text}"))
    }

    /// Overwrites bytes of the file system on the board's own disk.
    fn overwrite(&self, at: u64, bytes: u64) {
        let command = format!("write -P 0x5a {} {bytes}", self.partition + at);
        let words = ["-f", "qcow2", "-c", &command].map(OsStr::new);
        run("qemu-io", &[&words[..], &[self.overlay.as_os_str()]].concat(), "");
    }
}

/// Three suites, and in the fourth the power is cut; before it comes back, `damage` has the disk.
fn cut_and_damage(name: &str, damage: impl FnOnce(&Disk)) -> (Record, Lab) {
    let _slot = Slot::take();
    let lab = lab();
    let start = lab.write("start", START);
    let words = format!("    - sh\n    - {}\n    - qemu-system-arm\n", start.display());
    lab.change_board_type(|text| text.replacen("    - qemu-system-arm\n", &words, 1));
    let image = lab.path("images/qemu-virt-armv7/disk.img");
    let partition = partition_offset(&image);
    let suite = |suite: &str| {
        format!(
            "  - {{name: {suite}, run: 'seq 1 200; sync; lava-test-case {name} --result pass'}}\n"
        )
    };
    let tests = ["first", "second", "third"].map(suite).concat()
        // Frozen, the file system has an empty journal: no replay brings back what is overwritten in a block of before.
        + "  - {name: cut, run: 'fsfreeze --freeze /; fsfreeze --unfreeze /; touch /dirty; sleep 60'}\n";
    lab.write("job.yaml", job(&tests));
    let dispatcher = lab.start(&["run", "job.yaml", "--out", "runs"]);
    dispatcher.wait_for_stderr("test cut …");
    // The journal's own timer writes what is in memory after 5 s.
    std::thread::park_timeout(Duration::from_secs(6));
    e2e::emulator::cut_power(&lab);
    let second = lab.path("second");
    for _ in 0..e2e::program::PATIENCE.as_millis() / 50 {
        if second.exists() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(second.exists(), "the board is never switched on again");
    let overlay = lab.board_folder("qemu-01").join("disk.qcow2");
    let raw = lab.path("copy.img");
    let words = ["convert", "-O", "raw"].map(OsStr::new);
    run("qemu-img", &[&words[..], &[overlay.as_os_str(), raw.as_os_str()]].concat(), "");
    let record = lab.record();
    let copy = format!("{}?offset={partition}", raw.display());
    let mut disk = Disk {
        overlay,
        copy,
        partition,
        block_size: 0,
        run_name: record.path().file_name().unwrap().to_str().unwrap().to_owned(),
    };
    let stats = disk.debugfs("stats -h");
    let size = stats.lines().find_map(|line| line.strip_prefix("Block size:"));
    disk.block_size = size.and_then(|size| size.trim().parse().ok()).expect("a block has a size");
    damage(&disk);
    lab.write("mended", "");
    dispatcher.wait().exits_with(1);
    record.is_complete("TestError", 1);
    lab.nothing_runs();
    (record, lab)
}

fn partition_offset(disk: &Path) -> u64 {
    e2e::emulator::Disk::at(disk).offset("testrootfs")
}

/// What the board's power does: the second time it waits until the disk may be used.
const START: &str = r#"cd "${0%/*}"
if [ -e first ]; then
    touch second
    until [ -e mended ]; do sleep 0.1; done
fi
touch first
exec "$@"
"#;
