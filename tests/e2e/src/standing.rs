//! An emulated board that stands on its own: it lives on when a `pumice` ends, its line is a Unix socket, and every byte
//! of that line is kept in the order in which it passed.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::Lab;
use crate::carriers::{free_port, wait_for_port};
use crate::emulator::{ARMV7, Disk, run};
use crate::program::PATIENCE;

/// A board under power, with a lab of its own in which it is `here`.
#[derive(Debug)]
pub struct Standing {
    lab: Lab,
    emulator: Child,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    passed: Mutex<Passed>,
    changed: Condvar,
    host: Mutex<Option<UnixStream>>,
}

/// What passed on the line since the power came.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Everything that the board said, up to [`KEPT_MAX`] bytes, ...
    pub from_board: Vec<u8>,
    /// ... and how much that was.
    pub from_board_count: u64,
    /// Every piece that the host said, and how much the board had said before.
    pub from_host: Vec<(u64, Vec<u8>)>,
}

/// More than any test reads again; a flood has far more.
pub const KEPT_MAX: usize = 16 << 20;

impl Standing {
    /// Switches one on whose boot loader starts the master image by itself, when nobody types.
    ///
    /// # Panics
    /// What the emulated board needs is missing; the message says how to get it.
    pub fn start() -> Self {
        Self::begin(None, boots_by_itself, &[])
    }

    /// The same with a network, in which this host is 10.0.2.2 and the board may be 10.0.2.15; its lab has a side lane.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with_network() -> Self {
        let port = free_port();
        let lane = format!("{{address: '10.0.2.2:{port}', listen: '127.0.0.1:{port}'}}");
        let card = ["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"];
        Self::begin(Some(&lane), boots_by_itself, &card)
    }

    /// The same for a lab that switches its power ([`Self::entry`]); `change` may change its disk. U-Boot finds `kernel`
    /// with `qfw load`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with_switch(kernel: &Path, change: impl FnOnce(&Disk)) -> Self {
        let kernel = kernel.display().to_string();
        Self::begin(None, change, &["-monitor", MONITOR, "-kernel", &kernel])
    }

    fn begin(side_lane: Option<&str>, change: impl FnOnce(&Disk), more: &[&str]) -> Self {
        let lab = Lab::new("");
        let line = lab.path("line");
        let overlay = prepare(&lab, &format!("unix:{}", line.display()), side_lane, change);
        let listener = UnixListener::bind(&line).expect("a socket can be made");
        let mut emulator = emulator(&overlay, "stdio,id=line,signal=off", more);
        let stdin = emulator.stdin.take().expect("standard input is a pipe");
        let stdout = emulator.stdout.take().expect("standard output is a pipe");
        let shared = Arc::new(Shared::default());
        let (up, down) = (shared.clone(), shared.clone());
        thread::spawn(move || up.carry_to_host(stdout));
        thread::spawn(move || down.serve(&listener, stdin));
        Self { lab, emulator, shared }
    }

    /// The same, its line behind the emulator's own Telnet server, which makes a BREAK of IAC BRK. What passes is not
    /// kept. The server does not double 0xFF, so text comes through and frames of an agent do not.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn behind_telnet() -> Self {
        let lab = Lab::new("");
        let port = free_port();
        let connection = format!("telnet://127.0.0.1:{port}");
        let overlay = prepare(&lab, &connection, None, boots_by_itself);
        let server =
            format!("socket,id=line,host=127.0.0.1,port={port},server=on,wait=on,telnet=on");
        let emulator = emulator(&overlay, &server, &[]);
        wait_for_port(port);
        Self { lab, emulator, shared: Arc::new(Shared::default()) }
    }

    /// Its lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Its entry in another lab's file, of a board type that says how its boot loader is driven. Without power it stands
    /// still: the switch is the emulator's monitor.
    pub fn entry(&self, name: &str, board_type: &str) -> String {
        let [line, monitor] = ["line", "monitor"].map(|name| self.lab.path(name));
        let (line, monitor) = (line.display(), monitor.display());
        let switch = |words: &str| {
            format!(
                "{{ printf '{words}'; sleep 0.2; }} | socat - unix-connect:{monitor} >/dev/null"
            )
        };
        let (on, off, cycle) =
            (switch("cont\\n"), switch("stop\\nsystem_reset\\n"), switch("system_reset\\n"));
        format!(
            "  - name: {name}\n    type: {board_type}\n    connection: unix:{line}\n    power:\n      on: {on:?}\n      \
             off: {off:?}\n      cycle: {cycle:?}\n"
        )
    }

    /// What has passed so far.
    pub fn passed(&self) -> Passed {
        lock(&self.shared.passed).clone()
    }

    /// Bytes that the board has said so far.
    pub fn said(&self) -> u64 {
        lock(&self.shared.passed).from_board_count
    }

    /// Bytes that the host has said so far.
    pub fn heard(&self) -> u64 {
        lock(&self.shared.passed).heard()
    }

    /// Waits until the host has said so many bytes.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait_until_heard(&self, bytes: u64) {
        let waits = |passed: &mut Passed| passed.heard() < bytes;
        let (passed, _) = self
            .shared
            .changed
            .wait_timeout_while(lock(&self.shared.passed), PATIENCE, waits)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(passed.heard() >= bytes, "the host said only {} bytes", passed.heard());
    }

    /// Waits until the board has said `text` behind its first `after` bytes, and returns where that ends.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait_for(&self, text: &str, after: u64) -> u64 {
        let found = |passed: &Passed| passed.find(text, after);
        let (passed, _) = self
            .shared
            .changed
            .wait_timeout_while(lock(&self.shared.passed), PATIENCE, |p| found(p).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let at = found(&passed);
        drop(passed);
        at.unwrap_or_else(|| panic!("the board never said \"{text}\"")) + text.len() as u64
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
        if thread::panicking() {
            let passed = self.passed();
            self.lab.write("from-board", &passed.from_board);
            let told: Vec<String> =
                passed.from_host.iter().map(|(at, bytes)| format!("{at} {bytes:02x?}\n")).collect();
            self.lab.write("from-host", told.concat());
        }
    }
}

impl Passed {
    /// Where the board says `text`, not before `after` bytes.
    pub fn find(&self, text: &str, after: u64) -> Option<u64> {
        let start = usize::try_from(after).ok()?;
        let place = self.from_board.get(start..)?;
        place
            .windows(text.len())
            .position(|part| part == text.as_bytes())
            .map(|at| at as u64 + after)
    }

    /// Bytes that the host said.
    fn heard(&self) -> u64 {
        self.from_host.iter().map(|(_, piece)| piece.len() as u64).sum()
    }

    /// What the host said while the board was between these two places.
    pub fn host_between(&self, from: u64, to: u64) -> Vec<(u64, Vec<u8>)> {
        let is_between = |(at, _): &&(u64, Vec<u8>)| (from..to).contains(at);
        self.from_host.iter().filter(is_between).cloned().collect()
    }
}

impl Shared {
    fn carry_to_host(&self, mut board: ChildStdout) {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = board.read(&mut piece) {
            let bytes = &piece[..length];
            {
                let mut passed = lock(&self.passed);
                passed.from_board_count += length as u64;
                let room = KEPT_MAX - passed.from_board.len();
                passed.from_board.extend_from_slice(&bytes[..length.min(room)]);
            }
            self.changed.notify_all();
            // Nobody there: lost, as on a real line.
            let host = lock(&self.host).as_ref().and_then(|host| host.try_clone().ok());
            if let Some(mut host) = host {
                let _ = host.write_all(bytes);
            }
        }
    }

    fn serve(&self, listener: &UnixListener, mut board: ChildStdin) {
        for mut host in listener.incoming().map_while(Result::ok) {
            *lock(&self.host) = host.try_clone().ok();
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = host.read(&mut piece) {
                {
                    let mut passed = lock(&self.passed);
                    let at = passed.from_board_count;
                    passed.from_host.push((at, piece[..length].to_vec()));
                }
                self.changed.notify_all();
                if board.write_all(&piece[..length]).and_then(|()| board.flush()).is_err() {
                    return;
                }
            }
            // A writer that waits for room is let go.
            let _ = host.shutdown(Shutdown::Both);
            *lock(&self.host) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has failed the test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// U-Boot boots the master image of this disk when nobody types.
fn boots_by_itself(disk: &Disk) {
    disk.put_master_file("/boot/extlinux", "extlinux.conf", EXTLINUX);
}

/// Writes the lab file of a board with this connection, and makes its disk.
fn prepare(
    lab: &Lab,
    connection: &str,
    side_lane: Option<&str>,
    change: impl FnOnce(&Disk),
) -> PathBuf {
    change(&Disk::copy_to(&lab.path("images"), ARMV7));
    fs::create_dir_all(lab.path("types")).expect("the lab's folder is ours");
    lab.write("types/standing.yaml", BOARD_TYPE);
    let lane = side_lane.map_or(String::new(), |lane| format!(", side_lane: {lane}"));
    lab.write(
        "lab.yaml",
        format!(
            "board_types: types\nboards:\n  - {{name: here, type: standing, connection: \"{connection}\"{lane}}}\n"
        ),
    );
    let overlay = lab.path("disk.qcow2");
    let base = lab.path("images/qemu-virt-armv7/disk.img");
    let words = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"].map(AsRef::as_ref);
    run("qemu-img", &[&words[..], &[base.as_os_str(), overlay.as_os_str()]].concat(), "");
    overlay
}

/// As the board type `qemu-virt-armv7` starts it. What it leaves lies in the lab's folder.
fn emulator(overlay: &Path, line: &str, more: &[&str]) -> Child {
    let drive = format!("if=none,id=disk,file={},format=qcow2", overlay.display());
    let words = "-M virt -cpu cortex-a15 -m 512 -display none -nodefaults -serial chardev:line -bios /usr/lib/u-boot/qemu_arm/u-boot.bin -device virtio-rng-device \
        -device virtio-blk-device,drive=disk -drive";
    Command::new("qemu-system-arm")
        .current_dir(overlay.parent().expect("it lies in a folder"))
        .args(words.split_whitespace())
        .arg(drive)
        .args(["-chardev", line])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the emulator starts")
}

/// In the lab's folder.
const MONITOR: &str = "unix:monitor,server=on,wait=off";
/// A line with an agent behind it, and nothing that could be typed at.
const BOARD_TYPE: &str = "name: standing\npower: none\nboot_loader: none\nline: {coding: text-safe}\n\
    deadlines: {kernel: 5m, beacon: 5m}\n";

/// What U-Boot's own boot sequence looks for (doc/README.distro of U-Boot).
const EXTLINUX: &str = "default master\nlabel master\n\tkernel /boot/vmlinuz\n\tinitrd /boot/initrd.img\n\
    \tappend console=ttyAMA0 root=PARTLABEL=master rw init=/sbin/pumice-agent -- --role master\n";
