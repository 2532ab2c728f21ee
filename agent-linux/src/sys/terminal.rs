//! A terminal's settings (`man 3 termios`).

use super::errno::{OsResult, done};
use nix::libc::{self, c_int, termios};
use std::os::fd::{AsFd, AsRawFd as _};

/// Those that it has.
#[allow(unsafe_code)]
pub(super) fn settings(terminal: impl AsFd) -> OsResult<termios> {
    // SAFETY: plain data, for which zeros are a value.
    let mut found: termios = unsafe { std::mem::zeroed() };
    // SAFETY: the C library fills what has its layout.
    done(unsafe { libc::tcgetattr(terminal.as_fd().as_raw_fd(), &raw mut found) }.into())?;
    Ok(found)
}

/// Gives it others; `when`: TCSANOW or TCSAFLUSH.
#[allow(unsafe_code)]
pub(super) fn set(terminal: impl AsFd, when: c_int, wanted: &termios) -> OsResult<()> {
    // SAFETY: the C library reads what has its layout.
    done(unsafe { libc::tcsetattr(terminal.as_fd().as_raw_fd(), when, wanted) }.into()).map(drop)
}

/// Changes settings to those with which every byte passes as it is (`man 3 cfmakeraw`).
pub(super) fn make_raw(settings: &mut termios) {
    settings.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    settings.c_oflag &= !libc::OPOST;
    settings.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
    settings.c_cflag = settings.c_cflag & !(libc::CSIZE | libc::PARENB) | libc::CS8;
    settings.c_cc[libc::VMIN] = 1;
    settings.c_cc[libc::VTIME] = 0;
}
