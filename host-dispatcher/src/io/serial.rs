//! A serial device of this host, or a pseudo-terminal: locked, raw, 8N1, at its rate.
//!
//! Nothing is sent and no modem line is touched on purpose. Does not know what travels on the line, nor when to open
//! it again: on a hang-up the owner closes it at once, so that a replugged adapter gets its old number.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{self, speed_t, termios2};

use super::lock::{self, UucpLock};
use super::sys;
use crate::board::line_quality::UartErrors;
use crate::config::connection::is_rate;

/// An open line. Reads and writes do not block.
#[derive(Debug)]
pub(super) struct SerialPort {
    file: File,
    name: String,
    /// The rate that it was opened with, and the one it has.
    base: u32,
    current: u32,
    /// What its driver had counted when it was opened.
    counted: UartErrors,
    /// Dropped after the device is closed.
    _lock: Option<UucpLock>,
}

impl SerialPort {
    /// Opens and locks the device.
    ///
    /// # Errors
    /// A sentence that names the device and, if it is in use, by whom.
    pub(super) fn open(path: &Path, baud: u32) -> Result<Self, String> {
        Self::open_with_locks_in(Path::new(UucpLock::FOLDER), path, baud)
    }

    fn open_with_locks_in(locks: &Path, path: &Path, baud: u32) -> Result<Self, String> {
        let name = path.display();
        let in_use = |holder| format!("{name} is in use by {}", lock::describe(holder));
        // Before it is opened: that alone may raise DTR and reset somebody's board.
        let lock_path = UucpLock::path_for(locks, path);
        if let Some(holder) = lock_path.as_deref().and_then(UucpLock::holder) {
            return Err(in_use(Some(holder)));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // O_NONBLOCK: else open waits for a carrier. O_CLOEXEC is std's own.
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| cannot_open(path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(lock::flock_holder(&file))),
            Err(TryLockError::Error(error)) => {
                return Err(format!("failed to lock {name}: {error}"));
            }
        }
        let settings = sys::line_settings(&file).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTTY) => format!("{name} is not a serial device"),
            _ => format!("failed to read the settings of {name}: {error}"),
        })?;
        // Neither keeps root out, nor is it there with every driver: flock is the lock.
        let _ = sys::set_exclusive(&file, true);
        let counted = sys::uart_errors(&file).unwrap_or_default();
        let lock = lock_path.and_then(UucpLock::take);
        let name = name.to_string();
        let port = Self { file, name, counted, base: baud, current: baud, _lock: lock };
        port.apply(&raw_8n1(settings, baud), baud)?;
        let _ = sys::set_low_latency(&port.file);
        Ok(port)
    }

    /// Sets another rate, behind what was written; the caller has seen to it that this is no more than the adapter
    /// itself holds.
    ///
    /// # Errors
    /// A sentence that names the device; the rate is as it was.
    pub(super) fn set_baud(&mut self, baud: u32) -> Result<(), String> {
        let name = &self.name;
        let before = sys::line_settings(&self.file)
            .map_err(|error| format!("failed to read the settings of {name}: {error}"))?;
        let done = self.apply(&raw_8n1(before, baud), baud);
        match done {
            Ok(()) => self.current = baud,
            Err(_) => drop(sys::set_line_settings(&self.file, &before)),
        }
        done
    }

    fn apply(&self, settings: &termios2, baud: u32) -> Result<(), String> {
        let name = &self.name;
        sys::set_line_settings(&self.file, settings)
            .map_err(|error| format!("failed to set {name} to {baud} baud: {error}"))?;
        let set = sys::line_settings(&self.file)
            .map_err(|error| format!("failed to read the settings of {name}: {error}"))?;
        if !is_rate(set.c_ospeed, baud) {
            let mend = "choose a rate that the adapter can do";
            return Err(format!("{name} runs at {} baud and not at {baud}: {mend}", set.c_ospeed));
        }
        Ok(())
    }

    /// Begins or ends a BREAK. A pseudo-terminal has none, and says nothing of it.
    ///
    /// # Errors
    /// A sentence that names the device.
    pub(super) fn set_break(&mut self, is_on: bool) -> Result<(), String> {
        let failed = |error| format!("failed to send a BREAK on {}: {error}", self.name);
        sys::set_break(&self.file, is_on).map_err(failed)
    }

    /// What its UART has lost or misread since it was opened; zeros where the driver does not count.
    pub(super) fn errors(&self) -> UartErrors {
        let now = sys::uart_errors(&self.file).unwrap_or_default();
        UartErrors {
            overruns: now.overruns.wrapping_sub(self.counted.overruns),
            errors: now.errors.wrapping_sub(self.counted.errors),
        }
    }

    /// The open device, to read from and write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl AsFd for SerialPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SerialPort {
    fn drop(&mut self) {
        // Who opens the device next without naming a rate finds the board. What does not leave is not waited for.
        if self.current != self.base && sys::bytes_queued(&self.file) == Some(0) {
            let _ = self.set_baud(self.base);
        }
        // A pseudo-terminal stays exclusive as long as its other end is open.
        let _ = sys::set_exclusive(&self.file, false);
        // A child that is just being started may hold a copy of the descriptor for a moment, and the lock with it.
        let _ = self.file.unlock();
    }
}

/// Settings for bytes that arrive as they were sent.
fn raw_8n1(mut settings: termios2, baud: u32) -> termios2 {
    settings.c_iflag = 0;
    settings.c_oflag = 0;
    settings.c_lflag = 0;
    // CLOCAL: boards toggle modem lines. Without HUPCL: closing must not reset the board.
    settings.c_cflag = libc::CS8 | libc::CREAD | libc::CLOCAL;
    // Some drivers refuse BOTHER and take their constant. Input's field stays 0: as output.
    settings.c_cflag |=
        RATES.iter().find(|(rate, _)| *rate == baud).map_or(libc::BOTHER, |(_, bits)| *bits);
    settings.c_ispeed = baud;
    settings.c_ospeed = baud;
    // With 0, a read from an empty line would look like its end.
    settings.c_cc[libc::VMIN] = 1;
    settings.c_cc[libc::VTIME] = 0;
    settings
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => format!("{name} is not there: is the adapter plugged in?"),
        (ErrorKind::PermissionDenied, _) => {
            format!("no permission to open {name}: add yourself to the group dialout")
        }
        (_, Some(libc::EBUSY)) => format!("{name} is in use by another process"),
        _ => format!("failed to open {name}: {error}"),
    }
}

/// The rates that have a constant of their own.
const RATES: [(u32, speed_t); 24] = [
    (300, libc::B300),
    (600, libc::B600),
    (1_200, libc::B1200),
    (2_400, libc::B2400),
    (4_800, libc::B4800),
    (9_600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (500_000, libc::B500000),
    (576_000, libc::B576000),
    (921_600, libc::B921600),
    (1_000_000, libc::B1000000),
    (1_152_000, libc::B1152000),
    (1_500_000, libc::B1500000),
    (2_000_000, libc::B2000000),
    (2_500_000, libc::B2500000),
    (3_000_000, libc::B3000000),
    (3_500_000, libc::B3500000),
    (4_000_000, libc::B4000000),
    (1_800, libc::B1800),
];

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

    use super::super::test_folder::TestFolder;
    use super::*;

    fn pseudo_terminal() -> (PtyMaster, PathBuf) {
        let master = posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname_r(&master).unwrap().into();
        (master, path)
    }

    #[test]
    fn rates_are_read_back() {
        let (_master, path) = pseudo_terminal();
        for baud in [9_600, 115_200, 1_234_567, 3_000_000, 12_000_000] {
            let port = SerialPort::open(&path, baud).unwrap();
            let settings = sys::line_settings(&port).unwrap();
            assert_eq!((settings.c_ospeed, settings.c_ispeed), (baud, baud));
            assert_eq!(
                settings.c_cflag & (libc::CLOCAL | libc::HUPCL | libc::CRTSCTS),
                libc::CLOCAL
            );
            assert_eq!(settings.c_iflag | settings.c_oflag | settings.c_lflag, 0);
            assert_eq!(port.errors(), UartErrors::default());
        }
    }

    #[test]
    fn the_rate_of_an_open_line_is_changed() {
        let (_master, path) = pseudo_terminal();
        let mut port = SerialPort::open(&path, 115_200).unwrap();
        port.set_baud(921_600).unwrap();
        assert_eq!(sys::line_settings(&port).unwrap().c_ospeed, 921_600);
        drop(port);
        let other = OpenOptions::new().read(true).open(&path).unwrap();
        assert_eq!(sys::line_settings(&other).unwrap().c_ospeed, 115_200);
    }

    #[test]
    fn a_second_user_is_refused_until_the_first_is_gone() {
        let (_master, path) = pseudo_terminal();
        let first = SerialPort::open(&path, 115_200).unwrap();
        let refused = SerialPort::open(&path, 115_200).unwrap_err();
        assert!(refused.contains("is in use by"), "{refused}");
        drop(first);
        SerialPort::open(&path, 115_200).unwrap();
    }

    #[test]
    fn a_lock_file_of_another_program_is_obeyed() {
        let folder = TestFolder::new();
        let device = folder.path().join("ttyNone0");
        std::fs::write(&device, "").unwrap();
        std::fs::write(folder.path().join("LCK..ttyNone0"), "         1\n").unwrap();
        let refused = SerialPort::open_with_locks_in(folder.path(), &device, 115_200).unwrap_err();
        assert!(refused.contains("is in use by process 1"), "{refused}");
    }

    #[test]
    fn what_is_no_line_is_named() {
        let folder = TestFolder::new();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = SerialPort::open_with_locks_in(folder.path(), &file, 9_600).unwrap_err();
        assert!(error.ends_with("is not a serial device"), "{error}");
        let error = SerialPort::open(&folder.path().join("ttyUSB9"), 9_600).unwrap_err();
        assert!(error.ends_with("is not there: is the adapter plugged in?"), "{error}");
    }

    #[test]
    fn a_driver_that_does_not_do_the_rate_is_noticed() {
        assert!(is_rate(115_384, 115_200));
        assert!(!is_rate(0, 1_500_000));
        assert!(!is_rate(9_600, 115_200));
    }
}
