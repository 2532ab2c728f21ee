//! Unix sockets that carry packets (SOCK_SEQPACKET), by path, and TCP connections that this end begins. A path may be
//! longer than the 107 bytes of a socket address: it is reached through its directory's entry in /proc/self/fd.

#![allow(unsafe_code, reason = "system calls on descriptors and on bytes with their length")]

use super::errno::{Errno, OsResult, done};
use super::file::{self, File};
use crate::text;
use nix::fcntl::OFlag;
use nix::libc::{self, c_int};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;

/// Waits for clients of `directory/name`, in place of whatever had that name. Not blocking.
pub(crate) fn serve(directory: &str, name: &str) -> OsResult<OwnedFd> {
    let fd = new(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK)?;
    let (_held, address) = address(directory, name)?;
    let (at, length) = (address.as_ptr().cast(), address.len() as _);
    // SAFETY: the kernel reads no more of the address than its length.
    done(unsafe { libc::bind(fd.as_raw_fd(), at, length) }.into())?;
    // SAFETY: plain numbers.
    done(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) }.into())?;
    Ok(fd)
}

/// The next client; it does not block either.
pub(crate) fn accept(listener: impl AsFd) -> OsResult<OwnedFd> {
    let (nobody, how) = (ptr::null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    // SAFETY: the kernel is not to say who it is.
    let fd = unsafe { libc::accept4(listener.as_fd().as_raw_fd(), nobody, ptr::null_mut(), how) };
    owned(fd)
}

/// Connects to `directory/name`, and waits as long as that takes.
pub(crate) fn call(directory: &str, name: &str) -> OsResult<OwnedFd> {
    let fd = new(libc::AF_UNIX, libc::SOCK_SEQPACKET)?;
    let (_held, address) = address(directory, name)?;
    connect(&fd, &address)?;
    Ok(fd)
}

/// Reads a packet, cut to the buffer's length; 0 when the other end is closed.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> OsResult<usize> {
    let (fd, to) = (fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast());
    // SAFETY: the kernel fills no more than the length.
    done(unsafe { libc::recv(fd, to, buffer.len(), 0) } as _)
}

/// Sends a packet; or, on a connection, as many of the bytes as there is room for. Returns how many.
pub(crate) fn tell(fd: impl AsFd, packet: &[u8]) -> OsResult<usize> {
    let (fd, from) = (fd.as_fd().as_raw_fd(), packet.as_ptr().cast());
    // SAFETY: the kernel reads no more than the length.
    done(unsafe { libc::send(fd, from, packet.len(), libc::MSG_NOSIGNAL) } as _)
}

/// Begins to connect to a TCP port of an address of 4 (IPv4) or 16 bytes (IPv6), any other of which is refused. It has
/// ended when there is room to write, and [`outcome`] says how. What is written is sent at once.
pub(crate) fn dial(address: &[u8], port: u16) -> OsResult<OwnedFd> {
    // `struct sockaddr_in` (`man 7 ip`) ends with 8 zeros; in `struct sockaddr_in6` (`man 7 ipv6`) there are 4 before the
    // address and behind it.
    let (family, before, behind) = match address.len() {
        4 => (libc::AF_INET, 0, 8),
        16 => (libc::AF_INET6, 4, 4),
        _ => return Err(Errno::EINVAL),
    };
    let zeros = [0; 8];
    let (family_bytes, port) = ((family as u16).to_ne_bytes(), port.to_be_bytes());
    let whole = [&family_bytes[..], &port, &zeros[..before], address, &zeros[..behind]].concat();
    let fd = new(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    let yes: c_int = 1;
    let (at, length) = ((&raw const yes).cast(), size_of_val(&yes) as _);
    let (level, what) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    // SAFETY: the kernel reads an int.
    done(unsafe { libc::setsockopt(fd.as_raw_fd(), level, what, at, length) }.into())?;
    match connect(&fd, &whole) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error),
    }
}

/// How [`dial`] ended.
pub(crate) fn outcome(fd: impl AsFd) -> OsResult<()> {
    let mut error: c_int = 0;
    let (at, mut length) = ((&raw mut error).cast(), size_of_val(&error) as _);
    let (fd, level, what) = (fd.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: the kernel fills an int.
    done(unsafe { libc::getsockopt(fd, level, what, at, &raw mut length) }.into())?;
    if error == 0 { Ok(()) } else { Err(Errno::new(error)) }
}

/// Begins to connect to an address as the kernel has it.
fn connect(fd: &OwnedFd, address: &[u8]) -> OsResult<()> {
    let (at, length) = (address.as_ptr().cast(), address.len() as _);
    // SAFETY: the kernel reads no more of it than its length.
    done(unsafe { libc::connect(fd.as_raw_fd(), at, length) }.into()).map(drop)
}

pub(super) fn new(family: c_int, kind: c_int) -> OsResult<OwnedFd> {
    // SAFETY: plain numbers.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })
}

/// A descriptor that was just made, or none.
fn owned(fd: c_int) -> OsResult<OwnedFd> {
    let fd = done(fd.into())?;
    // SAFETY: nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// The address (`man 7 unix`), good as long as the file is.
fn address(directory: &str, name: &str) -> OsResult<(File, Vec<u8>)> {
    let held = file::open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let path = ["/proc/self/fd/", &text::errno(held.as_raw_fd()), "/", name, "\0"].concat();
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    Ok((held, [&family, path.as_bytes()].concat()))
}

/// Bytes of a path in an address, its NUL included.
const PATH_MAX: usize = 108;

/// Clients that may wait to be accepted; those beyond wait in their `connect`.
const BACKLOG: i32 = 16;
