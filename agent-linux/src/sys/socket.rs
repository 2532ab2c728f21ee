//! Unix sockets that carry packets (SOCK_SEQPACKET), by path. A path may be longer than the 107 bytes of a socket
//! address: it is reached through its directory's entry in /proc/self/fd.

use super::file;
use crate::text;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen,
    recv, send, socket,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

/// Waits for clients of `directory/name`, in place of whatever had that name. Not blocking.
pub(crate) fn serve(directory: &str, name: &str) -> io::Result<OwnedFd> {
    let fd = new(SockFlag::SOCK_NONBLOCK)?;
    let (_held, address) = address(directory, name)?;
    bind(fd.as_raw_fd(), &address)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// The next client; it does not block either.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let fd =
        accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: it was just made, and nobody else knows it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connects to `directory/name`, and waits as long as that takes.
pub(crate) fn call(directory: &str, name: &str) -> io::Result<OwnedFd> {
    let fd = new(SockFlag::empty())?;
    let (_held, address) = address(directory, name)?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}

/// Reads a packet, cut to the buffer's length; 0 when the other end is closed.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(fd.as_fd().as_raw_fd(), buffer, MsgFlags::empty())?)
}

/// Sends a packet.
pub(crate) fn tell(fd: impl AsFd, packet: &[u8]) -> io::Result<()> {
    send(fd.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

fn new(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)?)
}

/// The address, good as long as the file is.
fn address(directory: &str, name: &str) -> io::Result<(File, UnixAddr)> {
    let held = file::open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let path = ["/proc/self/fd/", &text::errno(held.as_raw_fd()), "/", name].concat();
    let address = UnixAddr::new(path.as_str())?;
    Ok((held, address))
}

/// Clients that may wait to be accepted; those beyond wait in their `connect`.
const BACKLOG: i32 = 16;
