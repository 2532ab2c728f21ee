//! Unix sockets that carry packets (SOCK_SEQPACKET), by path, and TCP connections that this end begins. A path may be
//! longer than the 107 bytes of a socket address: it is reached through its directory's entry in /proc/self/fd.

use super::file;
use crate::text;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recv, send, setsockopt, socket, sockopt,
};
use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
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

/// Sends a packet; or, on a connection, as many of the bytes as there is room for. Returns how many.
pub(crate) fn tell(fd: impl AsFd, packet: &[u8]) -> io::Result<usize> {
    Ok(send(fd.as_fd().as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?)
}

/// Begins to connect to a TCP port of an address of 4 (IPv4) or 16 bytes (IPv6), any other of which is refused. It has
/// ended when there is room to write, and [`outcome`] says how. What is written is sent at once.
pub(crate) fn dial(address: &[u8], port: u16) -> io::Result<OwnedFd> {
    if let Ok([a, b, c, d]) = <[u8; 4]>::try_from(address) {
        return begin(AddressFamily::Inet, &SockaddrIn::new(a, b, c, d, port));
    }
    let address = <[u8; 16]>::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
    let address = SocketAddrV6::new(Ipv6Addr::from(address), port, 0, 0);
    begin(AddressFamily::Inet6, &SockaddrIn6::from(address))
}

/// How [`dial`] ended.
pub(crate) fn outcome(fd: impl AsFd) -> io::Result<()> {
    match getsockopt(&fd.as_fd(), sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn begin(family: AddressFamily, address: &dyn SockaddrLike) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
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
