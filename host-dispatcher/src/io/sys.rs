//! System calls for which neither std nor nix has a safe function: terminal ioctls, and what a child does between
//! fork and exec. Each function here is safe to call; the reasons stand at the `unsafe` blocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc::{self, termios2};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use crate::board::line_quality::UartErrors;

/// A line's settings as the kernel keeps them, with rates as numbers.
pub(super) fn line_settings(line: impl AsFd) -> io::Result<termios2> {
    // SAFETY: termios2 is plain numbers, for which zero is a value.
    let mut settings: termios2 = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open while `line` is borrowed; the kernel writes one termios2.
    unsafe { request::tcgets2(line.as_fd().as_raw_fd(), &raw mut settings) }?;
    Ok(settings)
}

/// Applies settings when what was written has left; of what came nothing is lost. Waits for it: the caller asks
/// [`bytes_queued`] first where there may be much.
pub(super) fn set_line_settings(line: impl AsFd, settings: &termios2) -> io::Result<()> {
    // SAFETY: the descriptor is open while `line` is borrowed; the kernel reads one termios2.
    unsafe { request::tcsetsw2(line.as_fd().as_raw_fd(), settings) }?;
    Ok(())
}

/// Keeps others from opening the terminal, or lets them again. Root is not kept out (tty_io.c, `tty_reopen`).
pub(super) fn set_exclusive(line: impl AsFd, exclusive: bool) -> io::Result<()> {
    let fd = line.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `line` is borrowed; these requests have no argument.
    unsafe { if exclusive { request::tiocexcl(fd) } else { request::tiocnxcl(fd) } }?;
    Ok(())
}

/// Begins or ends a BREAK on a serial line, at once: what the driver still holds may be cut.
pub(super) fn set_break(line: impl AsFd, is_on: bool) -> io::Result<()> {
    let fd = line.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `line` is borrowed; these requests have no argument.
    unsafe { if is_on { request::tiocsbrk(fd) } else { request::tioccbrk(fd) } }?;
    Ok(())
}

/// Asks the driver to hand over received bytes at once: an FTDI adapter else waits 16 ms.
pub(super) fn set_low_latency(line: impl AsFd) -> io::Result<()> {
    let fd = line.as_fd().as_raw_fd();
    // SAFETY: SerialStruct is plain numbers and one address that is only handed back, for which zero is a value.
    let mut settings: SerialStruct = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open while `line` is borrowed; SerialStruct is the kernel's serial_struct.
    unsafe { request::tiocgserial(fd, &raw mut settings) }?;
    settings.flags |= ASYNC_LOW_LATENCY;
    // SAFETY: as above.
    unsafe { request::tiocsserial(fd, &raw const settings) }?;
    Ok(())
}

/// Bytes that the kernel still holds for the other end: of a terminal those not yet sent, of a socket its memory in
/// use. `None` where the kernel does not say.
pub(super) fn bytes_queued(line: impl AsFd) -> Option<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while `line` is borrowed; the kernel writes one int. SIOCOUTQ is the same number.
    unsafe { request::tiocoutq(line.as_fd().as_raw_fd(), &raw mut bytes) }.ok()?;
    usize::try_from(bytes).ok()
}

/// What the driver of a UART has counted since boot; `None` where it does not count, as with a pseudo-terminal.
pub(super) fn uart_errors(line: impl AsFd) -> Option<UartErrors> {
    let mut count = SerialCounters::default();
    // SAFETY: the descriptor is open while `line` is borrowed; SerialCounters is the kernel's serial_icounter_struct.
    unsafe { request::tiocgicount(line.as_fd().as_raw_fd(), &raw mut count) }.ok()?;
    let sum = |a: libc::c_int, b: libc::c_int| (a as u32).wrapping_add(b as u32);
    Some(UartErrors {
        overruns: sum(count.overrun, count.buf_overrun),
        errors: sum(count.frame, count.parity),
    })
}

/// Columns and rows of a terminal, or `None` if it is none or does not know.
pub(super) fn window_size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open while `terminal` is borrowed; the kernel writes one winsize.
    unsafe { request::tiocgwinsz(terminal.as_fd().as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Has the kernel kill the child when the thread that starts it ends, so that no emulator outlives a dispatcher that
/// was itself killed. All children are started by the event loop's thread, which lives as long as the process.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request was made.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(nix::Error::ESRCH)) }
    };
    // SAFETY: between fork and exec only system calls are made: nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(before_exec) };
}

/// linux/serial.h, `struct serial_struct`.
#[repr(C)]
pub(super) struct SerialStruct {
    kind: libc::c_int,
    line: libc::c_int,
    port: libc::c_uint,
    irq: libc::c_int,
    flags: libc::c_int,
    xmit_fifo_size: libc::c_int,
    custom_divisor: libc::c_int,
    baud_base: libc::c_int,
    close_delay: libc::c_ushort,
    io_type: libc::c_char,
    reserved_char: libc::c_char,
    hub6: libc::c_int,
    closing_wait: libc::c_ushort,
    closing_wait2: libc::c_ushort,
    iomem_base: *mut libc::c_uchar,
    iomem_reg_shift: libc::c_ushort,
    port_high: libc::c_uint,
    iomap_base: libc::c_ulong,
}

/// linux/serial.h, `struct serial_icounter_struct`.
#[repr(C)]
#[derive(Default)]
pub(super) struct SerialCounters {
    cts: libc::c_int,
    dsr: libc::c_int,
    rng: libc::c_int,
    dcd: libc::c_int,
    rx: libc::c_int,
    tx: libc::c_int,
    frame: libc::c_int,
    overrun: libc::c_int,
    parity: libc::c_int,
    brk: libc::c_int,
    buf_overrun: libc::c_int,
    reserved: [libc::c_int; 9],
}

/// linux/tty_flags.h.
const ASYNC_LOW_LATENCY: libc::c_int = 1 << 13;

/// The functions that nix's macros make are `unsafe`, because the kernel writes through their argument.
mod request {
    use nix::libc;

    nix::ioctl_none_bad!(tiocexcl, libc::TIOCEXCL);
    nix::ioctl_none_bad!(tiocnxcl, libc::TIOCNXCL);
    nix::ioctl_none_bad!(tiocsbrk, libc::TIOCSBRK);
    nix::ioctl_none_bad!(tioccbrk, libc::TIOCCBRK);
    nix::ioctl_read_bad!(tcgets2, libc::TCGETS2, libc::termios2);
    nix::ioctl_write_ptr_bad!(tcsetsw2, libc::TCSETSW2, libc::termios2);
    nix::ioctl_read_bad!(tiocgserial, libc::TIOCGSERIAL, super::SerialStruct);
    nix::ioctl_read_bad!(tiocgicount, libc::TIOCGICOUNT, super::SerialCounters);
    nix::ioctl_write_ptr_bad!(tiocsserial, libc::TIOCSSERIAL, super::SerialStruct);
    nix::ioctl_read_bad!(tiocoutq, libc::TIOCOUTQ, libc::c_int);
    nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);
}
