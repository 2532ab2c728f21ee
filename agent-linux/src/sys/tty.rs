//! The serial line's terminal: raw, not blocking, and seen through `embedded-io`'s traits.

use super::errno::{Errno, OsResult};
use super::file::{self, File};
use super::{clock, poll, terminal};
use agent_core::time::Instant;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use nix::libc::{self, c_int, termios};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// An open terminal in raw mode.
///
/// `read` and `write` do not block, unlike what `embedded-io` says of them: with nothing to read, or no room, they
/// fail with an error that [`TtyError::would_block`]. The traits' `read_ready` and `write_ready` tell before.
#[derive(Debug)]
pub(crate) struct Tty {
    file: File,
    baud: Option<u32>,
    /// What the driver made of our settings, to be compared with.
    applied: Mode,
    /// `write_ready` while at most so many bytes wait in the kernel.
    queue_limit: usize,
}

/// Errors of a line: what the UART lost since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineErrors {
    /// Bytes lost because nobody fetched them: FIFO and kernel buffer.
    pub(crate) overruns: u32,
    /// Framing and parity errors.
    pub(crate) errors: u32,
}

impl Tty {
    /// Opens `path` without making it a controlling terminal, and sets it to raw 8N1 without flow control.
    pub(crate) fn open(path: &str, baud: Option<u32>, queue_limit: usize) -> OsResult<Self> {
        let file = file::open(path, file::TERMINAL)?;
        // SAFETY: TIOCEXCL takes no argument. It keeps others from opening the line by accident; root still can, so a
        // failure changes little.
        #[allow(unsafe_code)]
        let _ = unsafe { file.control(libc::TIOCEXCL as u32, 0) };
        let mut tty = Self { file, baud, applied: Mode::default(), queue_limit };
        tty.make_raw(libc::TCSANOW)?;
        Ok(tty)
    }

    /// Applies the settings again when somebody changed them (an init that resets its console). Returns whether.
    pub(crate) fn repair(&mut self) -> OsResult<bool> {
        if Mode::of(&terminal::settings(&self.file)?) == self.applied {
            return Ok(false);
        }
        self.make_raw(libc::TCSANOW)?;
        Ok(true)
    }

    /// Sets another rate once everything that was written has left, and throws away what came and was not read. Waits
    /// until `until` at most. After an error the rate is as it was.
    pub(crate) fn set_baud(&mut self, baud: u32, until: Instant) -> OsResult<()> {
        let code = code_of(baud).ok_or(Errno::EINVAL)?;
        let has_rate = self.applied.control & libc::CBAUD != 0;
        if has_rate && self.rate().is_none() {
            // One that has no name could not be set again. (An emulated UART may have none, and takes any.)
            return Err(Errno::EOPNOTSUPP);
        }
        while self.file.queued_out() > 0 {
            if clock::now() >= until {
                return Err(Errno::ETIMEDOUT);
            }
            poll::pause(DRAIN_PAUSE);
        }
        let before = self.baud.replace(baud);
        // The kernel's queue is empty; what is left in the UART it waits for itself, for a bounded time.
        let done = self.make_raw(libc::TCSAFLUSH);
        let is_set = self.applied.control & libc::CBAUD == code;
        if done.is_ok() && is_set {
            return Ok(());
        }
        self.baud = before;
        self.make_raw(libc::TCSANOW)?;
        // Drivers keep the rate that they had when the clock cannot be divided so.
        done?;
        Err(Errno::EOPNOTSUPP)
    }

    /// Bits a second, as the terminal has it; a rate that is not in the table counts as 115200.
    pub(crate) fn baud(&self) -> u32 {
        self.rate().unwrap_or(115_200)
    }

    /// What the UART lost; zeros where the driver does not count (a pseudo-terminal).
    pub(crate) fn errors(&self) -> LineErrors {
        let mut count = SerialIcounter::default();
        // SAFETY: the kernel fills a struct serial_icounter_struct, whose layout `SerialIcounter` has.
        #[allow(unsafe_code)]
        let _ = unsafe { self.file.control(libc::TIOCGICOUNT as u32, (&raw mut count).addr()) };
        let sum = |a: c_int, b: c_int| (a as u32).wrapping_add(b as u32);
        LineErrors {
            overruns: sum(count.overrun, count.buf_overrun),
            errors: sum(count.frame, count.parity),
        }
    }

    fn rate(&self) -> Option<u32> {
        let set = self.applied.control & libc::CBAUD;
        RATES.iter().find(|(_, code)| *code == set).map(|(rate, _)| *rate)
    }

    fn make_raw(&mut self, when: c_int) -> OsResult<()> {
        let mut settings = terminal::settings(&self.file)?;
        terminal::make_raw(&mut settings);
        // A BREAK is the magic-SysRq key of a console, no byte for us. Any byte may appear, so XON and XOFF are data.
        settings.c_iflag &= !(libc::IXOFF | libc::IXANY | libc::INPCK);
        settings.c_iflag |= libc::IGNBRK;
        settings.c_cflag &= !(libc::HUPCL | libc::CSTOPB | libc::CRTSCTS);
        settings.c_cflag |= libc::CLOCAL | libc::CREAD;
        if let Some(baud) = self.baud {
            let code = code_of(baud).ok_or(Errno::EINVAL)?;
            settings.c_cflag = settings.c_cflag & !libc::CBAUD | code;
        }
        // A repair is done now and not after draining: what waits may never leave.
        terminal::set(&self.file, when, &settings)?;
        // A driver may round the rate or leave out a control flag. The others are as they were set; if not, somebody
        // else was quicker than this look, and the next one shall find the difference.
        let control = Mode::of(&terminal::settings(&self.file)?).control;
        self.applied = Mode { control, ..Mode::of(&settings) };
        Ok(())
    }

    fn is_ready(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), flags)];
        nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ErrorType for Tty {
    type Error = TtyError;
}

impl Read for Tty {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TtyError> {
        Ok(self.file.read(buffer)?)
    }
}

impl ReadReady for Tty {
    fn read_ready(&mut self) -> Result<bool, TtyError> {
        Ok(self.is_ready(PollFlags::POLLIN))
    }
}

impl Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, TtyError> {
        Ok(self.file.write(bytes)?)
    }

    /// Nothing is kept on this side of the kernel.
    fn flush(&mut self) -> Result<(), TtyError> {
        Ok(())
    }
}

impl WriteReady for Tty {
    /// Whether the kernel's queue is short: what lies there can no longer be overtaken by something more urgent.
    /// A pseudo-terminal's queue is always empty; it ends by not taking a write.
    fn write_ready(&mut self) -> Result<bool, TtyError> {
        Ok(self.file.queued_out() <= self.queue_limit)
    }
}

/// The parts of a terminal's settings that raw mode is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mode {
    input: libc::tcflag_t,
    output: libc::tcflag_t,
    control: libc::tcflag_t,
    local: libc::tcflag_t,
}

impl Mode {
    fn of(settings: &termios) -> Self {
        let termios { c_iflag, c_oflag, c_cflag, c_lflag, .. } = *settings;
        Self { input: c_iflag, output: c_oflag, control: c_cflag, local: c_lflag }
    }
}

/// The kernel's `struct serial_icounter_struct` (include/uapi/linux/serial.h), which libc does not have.
#[repr(C)]
#[derive(Debug, Default)]
struct SerialIcounter {
    cts: c_int,
    dsr: c_int,
    rng: c_int,
    dcd: c_int,
    rx: c_int,
    tx: c_int,
    frame: c_int,
    overrun: c_int,
    parity: c_int,
    brk: c_int,
    buf_overrun: c_int,
    reserved: [c_int; 9],
}

/// In µs: how often a queue that drains is looked at. Two frames take 115 ms at 115200 baud.
const DRAIN_PAUSE: u64 = 2_000;

fn code_of(baud: u32) -> Option<libc::speed_t> {
    RATES.iter().find(|(rate, _)| *rate == baud).map(|(_, code)| *code)
}

/// Rates that `--baud` and the dispatcher may name.
const RATES: [(u32, libc::speed_t); 20] = [
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
    (4_000_000, libc::B4000000),
];

/// Why the line took or gave nothing.
#[derive(Debug)]
pub(crate) struct TtyError(Errno);

impl TtyError {
    /// Whether it is only a matter of time.
    pub(crate) fn would_block(&self) -> bool {
        self.0.is_for_later()
    }
}

impl From<Errno> for TtyError {
    fn from(error: Errno) -> Self {
        Self(error)
    }
}

impl fmt::Display for TtyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.number().fmt(f)
    }
}

impl std::error::Error for TtyError {}

impl embedded_io::Error for TtyError {
    fn kind(&self) -> ErrorKind {
        // Which it is matters to no caller but for `would_block`, which this vocabulary has no word for.
        match self.0 {
            Errno::EINTR => ErrorKind::Interrupted,
            _ => ErrorKind::Other,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::sys::termios::{BaudRate, SetArg, cfsetspeed, tcgetattr, tcsetattr};
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A pseudo-terminal: its master and the path of its slave.
    pub(crate) fn pty() -> (nix::pty::PtyMaster, String) {
        let master = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let path = nix::pty::ptsname_r(&master).unwrap();
        (master, path)
    }

    #[test]
    fn every_byte_passes_both_ways() {
        let (mut master, path) = pty();
        let mut tty = Tty::open(&path, None, 1000).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        assert!(tty.read(&mut [0; 4]).unwrap_err().would_block());
        assert!(!tty.read_ready().unwrap() && tty.write_ready().unwrap());
        assert_eq!(tty.write(&all).unwrap(), 256);
        let mut there = [0; 256];
        io::Read::read_exact(&mut master, &mut there).unwrap();
        assert_eq!(there.as_slice(), all);
        io::Write::write_all(&mut master, &all).unwrap();
        assert!(tty.read_ready().unwrap());
        let mut back = [0; 256];
        let mut length = 0;
        while length < 256 {
            length += tty.read(&mut back[length..]).unwrap();
        }
        assert_eq!(back.as_slice(), all);
        assert_eq!(tty.errors(), LineErrors::default());
    }

    #[test]
    fn a_mode_that_somebody_changed_is_repaired() {
        let (_master, path) = pty();
        let mut tty = Tty::open(&path, Some(115_200), 1000).unwrap();
        assert_eq!(tty.baud(), 115_200);
        assert!(!tty.repair().unwrap());
        let mut termios = tcgetattr(&tty.file).unwrap();
        termios.local_flags.insert(nix::sys::termios::LocalFlags::ICANON);
        tcsetattr(&tty.file, SetArg::TCSANOW, &termios).unwrap();
        assert!(tty.repair().unwrap() && !tty.repair().unwrap());
    }

    #[test]
    fn another_rate_is_set_and_kept_and_an_impossible_one_changes_nothing() {
        let (_master, path) = pty();
        let soon = clock::now() + agent_core::time::Duration::from_secs(5);
        let mut tty = Tty::open(&path, Some(115_200), 1000).unwrap();
        tty.set_baud(921_600, soon).unwrap();
        assert_eq!((tty.baud(), tty.repair().unwrap()), (921_600, false));
        let mut termios = tcgetattr(&tty.file).unwrap();
        cfsetspeed(&mut termios, BaudRate::B9600).unwrap();
        tcsetattr(&tty.file, SetArg::TCSANOW, &termios).unwrap();
        assert!(tty.repair().unwrap());
        assert_eq!(tty.baud(), 921_600);
        assert!(tty.set_baud(12_345, soon).is_err());
        assert_eq!((tty.baud(), tty.repair().unwrap()), (921_600, false));
    }

    #[test]
    fn a_mode_that_somebody_changes_at_the_same_moment_is_repaired() {
        let (_master, path) = pty();
        let mut tty = Tty::open(&path, None, 1000).unwrap();
        let mut cooked = tcgetattr(&tty.file).unwrap();
        cooked.local_flags.insert(nix::sys::termios::LocalFlags::ICANON);
        let (other, is_done) = (tty.file.try_clone().unwrap(), AtomicBool::new(false));
        let is_done = &is_done;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    tcsetattr(&other, SetArg::TCSANOW, &cooked).unwrap();
                }
            });
            for _ in 0..2000 {
                tty.repair().unwrap();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        tty.repair().unwrap();
        let left = tcgetattr(&tty.file).unwrap().local_flags;
        assert!(!left.contains(nix::sys::termios::LocalFlags::ICANON), "{left:?}");
        assert!(!tty.repair().unwrap());
    }

    #[test]
    fn a_hung_up_line_is_an_error_and_not_silence() {
        let (master, path) = pty();
        let mut tty = Tty::open(&path, None, 1000).unwrap();
        drop(master);
        assert!(matches!(tty.read(&mut [0; 4]), Ok(0)) || tty.read(&mut [0; 4]).is_err());
        assert!(!tty.write(b"x").unwrap_err().would_block());
        assert!(Tty::open(&path, Some(12_345), 1000).is_err());
    }
}
