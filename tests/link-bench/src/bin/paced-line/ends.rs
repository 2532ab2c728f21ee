//! The two ends of a line: descriptors that are read and written without blocking.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{
    BaudRate, FlowArg, SetArg, cfmakeraw, cfsetspeed, tcflow, tcgetattr, tcsetattr,
};

use crate::clock;

/// One end, as the line sees it: what its owner writes is read here.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reader: File,
    pub(crate) writer: File,
    /// Of a pseudo-terminal the side that others open: held, or the line would hang up whenever nobody has it open.
    slave: Option<OwnedFd>,
    is_stopped: bool,
    /// How long the gate of a terminal is open at a time, and when it last was, in µs.
    pulse_us: u64,
    pulsed_at: u64,
}

impl End {
    /// Whether what stands here is to be read now.
    pub(crate) fn is_read(&self) -> bool {
        // What a terminal took before it was stopped must come out, or nobody could say how much it is.
        self.slave.is_some() || !self.is_stopped
    }

    /// Lets the owner write, or not, as a transmit buffer does that has `queued` of [`QUEUE`] bytes in it.
    ///
    /// A pseudo-terminal takes 12 KiB before it is full, more than a second at 115200 baud, and shows nothing of it in
    /// TIOCOUTQ. Stopped (TCXONC) it takes nothing; but its owner fills it before the reader at the other side is awake.
    /// So while more than half of [`QUEUE`] waits it is opened just for the moment that a write takes.
    pub(crate) fn admit(&mut self, now: u64, queued: usize) -> io::Result<()> {
        if queued >= QUEUE {
            return self.set_stopped(true);
        }
        if queued < QUEUE / 2 || self.slave.is_none() {
            return self.set_stopped(false);
        }
        if now < self.pulsed_at + PULSE_EVERY_US {
            return Ok(());
        }
        self.pulsed_at = now;
        self.set_stopped(false)?;
        let until = clock::now() + Duration::from_micros(self.pulse_us);
        while clock::now() < until {
            std::hint::spin_loop();
        }
        // Longer the next time, unless something comes: the owner may need that long to wake up.
        self.pulse_us = (self.pulse_us * 2).min(PULSE_MAX_US);
        self.set_stopped(true)
    }

    /// Reads what was written; `None` when nobody ever will again.
    pub(crate) fn read(&mut self, piece: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.is_read() {
            return Ok(Some(0));
        }
        match self.reader.read(piece) {
            Ok(0) => Ok(None),
            Ok(length) => {
                self.pulse_us = PULSE_US;
                if self.slave.is_some() {
                    self.set_stopped(true)?;
                }
                Ok(Some(length))
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(Some(0)),
                _ => Err(error),
            },
        }
    }

    fn set_stopped(&mut self, is_stopped: bool) -> io::Result<()> {
        if self.is_stopped == is_stopped {
            return Ok(());
        }
        self.is_stopped = is_stopped;
        if let Some(slave) = &self.slave {
            tcflow(slave, if is_stopped { FlowArg::TCOOFF } else { FlowArg::TCOON })?;
        }
        Ok(())
    }
}

/// A pseudo-terminal in raw mode, and the path by which it is opened.
pub(crate) fn terminal(baud: u32) -> io::Result<(End, String)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname_r(&master)?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let slave = open(Path::new(&path), flags, Mode::empty())?;
    let mut termios = tcgetattr(&slave)?;
    cfmakeraw(&mut termios);
    // A program may look at the rate: ZMODEM's does, for the length of its blocks, and the agent for its timeouts.
    if let Some((_, rate)) = RATES.iter().find(|(known, _)| *known == baud) {
        cfsetspeed(&mut termios, *rate)?;
    }
    tcsetattr(&slave, SetArg::TCSANOW, &termios)?;
    let reader = File::from(OwnedFd::from(master));
    let writer = reader.try_clone()?;
    Ok((end(reader, writer, Some(slave))?, path))
}

/// Standard input and output, and a program's.
pub(crate) fn with_program(program: &str, words: &[String]) -> io::Result<(End, End, Child)> {
    let mut child =
        Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("the program has no standard input and output"));
    };
    let (input, output) = (File::from(OwnedFd::from(input)), File::from(OwnedFd::from(output)));
    // The least that there is: what waits in it is not on the line yet and cannot be overtaken.
    fcntl(&output, FcntlArg::F_SETPIPE_SZ(4096))?;
    let standard = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let host = end(standard(io::stdin().as_fd())?, standard(io::stdout().as_fd())?, None)?;
    Ok((host, end(output, input, None)?, child))
}

fn end(reader: File, writer: File, slave: Option<OwnedFd>) -> io::Result<End> {
    for file in [&reader, &writer] {
        let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
        fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(End { reader, writer, slave, is_stopped: false, pulse_us: PULSE_US, pulsed_at: 0 })
}

/// Bytes that wait for the line before their writer is stopped: two frames, as many as `pumice` and the agent leave in
/// the queue of a UART, where TIOCOUTQ tells.
const QUEUE: usize = 1536;

/// A gate opens at most so often, for so long at first, and for so long at most, in µs.
const PULSE_EVERY_US: u64 = 1000;
const PULSE_US: u64 = 20;
const PULSE_MAX_US: u64 = 200;

/// Those that `ci/bench` uses.
const RATES: [(u32, BaudRate); 4] = [
    (9_600, BaudRate::B9600),
    (115_200, BaudRate::B115200),
    (921_600, BaudRate::B921600),
    (3_000_000, BaudRate::B3000000),
];
