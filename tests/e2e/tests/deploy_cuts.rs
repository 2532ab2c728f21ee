//! Power cuts at random moments of a deploy, on the emulated board: whatever a cut leaves, the next deploy makes exactly
//! its image of it, and nothing outside of the image is ever written to.
//!
//! To the dispatcher a cut is the end of the board: the agent that had the plan never comes back, so the command ends
//! with an InfrastructureError that names the emulator's end. (An agent that has only lost its session goes on in the
//! same command, with the warning "planning again from what is there": `deploy.rs`.) The next command starts the board,
//! asks for the hashes of what is there, and plans from that.
//!
//! What the kernel has not written out is lost with the board's memory; what it has asked the disk to keep stays, as
//! QEMU does it with `cache=writeback`. The agent syncs every 4 MiB, so most cuts lose some MiB that were written.
#![allow(
    clippy::disallowed_methods,
    reason = "the programs have real clocks, and a board is looked at now and then"
)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e::emulator::{Disk, Slot, run, running};
use e2e::program::{Output, PATIENCE};
use e2e::{Lab, random};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;
const IMAGE: usize = 16 * MIB;
const BLOCKS: usize = IMAGE / BLOCK;

/// Boards, two of them at a time; each has a seed of its own.
const BOARDS: u64 = 4;
const CUTS_OF_A_BOARD: usize = 5;

/// The two images, by their names: each is what the other one is updated to.
const NAMES: [&str; 2] = ["old.img", "new.img"];

/// 16 MiB, nearly all of which lies elsewhere in the other one, so that the board writes nearly all of it and each copy
/// overwrites what another one needs; zeros; and some blocks that only one of them has, which come over the line.
fn images() -> [Vec<u8>; 2] {
    let mut old = random(IMAGE, 1);
    old[4 * MIB..6 * MIB].fill(0);
    let mut new = old.clone();
    new.rotate_left(5 * MIB + 3 * BLOCK);
    for change in 0..24 {
        let at = (5 + change * 167) * BLOCK + 123;
        let length = if change % 4 == 0 { BLOCK } else { 300 };
        new[at..at + length].copy_from_slice(&random(length, 1000 + change as u64));
    }
    [old, new]
}

/// A board, and what its disk was before the first deploy.
struct Bench {
    lab: Lab,
    images: [Vec<u8>; 2],
    before: Vec<u8>,
    at: usize,
}

impl Bench {
    /// The disk holds the second image, and the master image is mounted read-only: then all that a disk has elsewhere
    /// must stay as it was.
    fn new() -> Self {
        let images = images();
        let lab = Lab::emulated_with(|disk| {
            disk.put_rootfs_bytes(&images[1]);
            disk.change_master_file("/etc/init.d/rcS", |script| {
                script.replace("mount -o remount,rw /\n", "")
            });
        });
        let monitor = format!(
            "    - -qmp\n    - unix:{},server=on,wait=off\n    - -display\n",
            lab.path("monitor").display()
        );
        lab.change_board_type(|text| {
            let text = text.replacen("=master rw", "=master ro", 1);
            text.replacen("    - -display\n", &monitor, 1)
        });
        for (name, image) in NAMES.iter().zip(&images) {
            lab.write(name, image);
        }
        let disk = lab.path("images/qemu-virt-armv7/disk.img");
        let at = Disk::at(&disk).offset("testrootfs") as usize;
        // What is behind the image in the partition is compared too: as much again.
        let before = beginning_of(&disk, at + 2 * IMAGE);
        Self { lab, images, before, at }
    }

    /// The disk as it is now; the board must be off.
    fn disk(&self) -> Vec<u8> {
        let overlay = self.lab.board_folder("qemu-01").join("disk.qcow2");
        let copy = self.lab.path("copy.img");
        let words = ["convert", "-O", "raw"].map(OsStr::new);
        run("qemu-img", &[&words[..], &[overlay.as_os_str(), copy.as_os_str()]].concat(), "");
        beginning_of(&copy, self.before.len())
    }

    /// The partition is this image, and all else is as it was.
    #[track_caller]
    fn holds(&self, image: usize) {
        let disk = self.disk();
        let (at, end) = (self.at, self.at + IMAGE);
        assert!(disk[at..end] == self.images[image], "the partition is {}", NAMES[image]);
        assert!(disk[..at] == self.before[..at], "the master image and all before the partition");
        assert!(disk[end..] == self.before[end..], "what is behind the image");
    }

    /// How many blocks of the partition are as they are in one of the images, and how many in neither.
    fn blocks(&self) -> [usize; 3] {
        let disk = self.disk();
        let mut counts = [0; 3];
        for (index, block) in disk[self.at..][..IMAGE].chunks(BLOCK).enumerate() {
            let place = index * BLOCK..(index + 1) * BLOCK;
            let of = self.images.iter().position(|image| image[place.clone()] == *block);
            counts[of.unwrap_or(2)] += 1;
        }
        counts
    }

    /// Deploys without a cut.
    fn deploy(&self, image: usize) {
        self.lab.pumice(&["deploy", "qemu-01", NAMES[image]]).exits_with(0);
        self.lab.nothing_runs();
        self.holds(image);
    }

    fn monitor(&self) -> Option<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(self.lab.path("monitor")).ok()?;
        stream.write_all(b"{\"execute\": \"qmp_capabilities\"}\n").ok()?;
        Some(BufReader::new(stream))
    }

    /// Deploys and cuts the power when so many bytes have come to the disk, and `pause` after that.
    fn deploy_and_cut(&self, image: usize, after_bytes: u64, pause: Duration) -> Output {
        let record = self.lab.path("store/boards/qemu-01/testrootfs.json");
        let read = || fs::read(&record).unwrap_or_default();
        let before = read();
        let deploying = self.lab.start(&["deploy", "qemu-01", NAMES[image]]);
        let since = Instant::now();
        while read() == before {
            assert!(since.elapsed() < PATIENCE, "the writing never begins");
            std::thread::sleep(Duration::from_millis(2));
        }
        if let (Some(emulator), Some(mut monitor)) = (running(&self.lab), self.monitor()) {
            // Of one that is gone nothing is known: the deploy has ended.
            while written(&mut monitor).is_some_and(|bytes| bytes < after_bytes) {
                assert!(since.elapsed() < PATIENCE, "the writing never ends");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(pause);
            let _ = kill(Pid::from_raw(emulator), Signal::SIGKILL);
        }
        deploying.wait()
    }
}

/// What the board has asked its disk to write since it has power, in bytes (QEMU's QMP reference, query-blockstats).
fn written(monitor: &mut BufReader<UnixStream>) -> Option<u64> {
    monitor.get_mut().write_all(b"{\"execute\": \"query-blockstats\"}\n").ok()?;
    loop {
        let mut line = String::new();
        monitor.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let answer: Value = serde_json::from_str(&line).ok()?;
        // The answer to the greeting is empty.
        if let Some(bytes) = answer["return"][0]["stats"]["wr_bytes"].as_u64() {
            return Some(bytes);
        }
    }
}

fn beginning_of(path: &Path, bytes: usize) -> Vec<u8> {
    let mut beginning = vec![0; bytes];
    File::open(path).and_then(|file| file.read_exact_at(&mut beginning, 0)).unwrap();
    beginning
}

#[test]
fn twenty_power_cuts_at_random_moments_of_a_deploy() {
    let seeds: Vec<u64> = match std::env::var("PUMICE_SEED") {
        Ok(seed) => vec![seed.parse().expect("PUMICE_SEED is a number")],
        Err(_) => (0..BOARDS).collect(),
    };
    let next = Mutex::new(seeds.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    cut_again_and_again(seed);
                }
            });
        }
    });
}

/// Five cuts. What was cut is deployed again, or the other image over it. After the second and the fifth a deploy comes to
/// its end.
fn cut_again_and_again(seed: u64) {
    let _slot = Slot::take();
    eprintln!("again: PUMICE_SEED={seed} cargo test -p e2e --test deploy_cuts");
    let bench = Bench::new();
    // It writes nearly all, so the overlay has a place for nearly every block from now on: QEMU would forget what it has
    // written to a new place and was not asked to keep, where a disk would have parts of it.
    bench.deploy(0);
    let mut numbers = random(1000, seed).into_iter().map(usize::from);
    let mut number = || numbers.next().expect("few are needed");
    let (mut image, mut cuts, mut mixtures) = (0, 0, 0);
    while cuts < CUTS_OF_A_BOARD {
        let counts = bench.blocks();
        image = if number() % 2 == 0 { 1 - image } else { image };
        if counts[image] == BLOCKS {
            image = 1 - image;
        }
        let missing = (BLOCKS - counts[image]) * BLOCK;
        let after_bytes = (missing * (number() << 8 | number())) >> 16;
        // In the middle of what is written at once, or in a pause between.
        let pause = Duration::from_millis((number() % 2 * number() * 2) as u64);
        let output = bench.deploy_and_cut(image, after_bytes as u64, pause);
        bench.lab.nothing_runs();
        let about = format!(
            "seed {seed}: {} cut {pause:?} after {after_bytes} of {missing} bytes",
            NAMES[image]
        );
        if output.status == 0 {
            eprintln!("{about}: it was there before");
            bench.holds(image);
            continue;
        }
        output.exits_with(3).says("pumice: InfrastructureError: ").says("signal SIGKILL");
        cuts += 1;
        let [old, new, neither] = bench.blocks();
        eprintln!("{about}: {old} blocks old, {new} new, {neither} neither");
        mixtures += usize::from(old < BLOCKS && new < BLOCKS);
        if cuts == 2 || cuts == CUTS_OF_A_BOARD {
            bench.deploy(image);
        }
    }
    // The moments are bytes of the disk: no load of the machine moves them out of the writing.
    assert!(mixtures > 0, "seed {seed}: no cut was in the middle");
}
