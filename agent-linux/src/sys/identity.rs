//! Who the board is: names and addresses that need system calls.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage};
use std::io::Write as _;

/// `uname -n` and `uname -srvm`.
pub(crate) fn names() -> (String, String) {
    let Ok(uname) = nix::sys::utsname::uname() else { return (String::new(), String::new()) };
    let mut kernel = String::new();
    for part in [uname.sysname(), uname.release(), uname.version(), uname.machine()] {
        if !kernel.is_empty() {
            kernel.push(' ');
        }
        kernel.push_str(&part.to_string_lossy());
    }
    (uname.nodename().to_string_lossy().into_owned(), kernel)
}

/// `interface address/prefix` of every interface that is up, each ended by a NUL; loopback only if wanted.
pub(crate) fn addresses(with_loopback: bool) -> Vec<u8> {
    let mut words = Vec::new();
    let Ok(all) = getifaddrs() else { return words };
    for one in all {
        if !with_loopback && one.flags.contains(InterfaceFlags::IFF_LOOPBACK)
            || !one.flags.contains(InterfaceFlags::IFF_UP)
        {
            continue;
        }
        let Some(address) = one.address else { continue };
        let prefix = one
            .netmask
            .as_ref()
            .map_or(0, |mask| octets(mask).iter().map(|octet| octet.count_ones()).sum::<u32>());
        let name = one.interface_name.as_bytes();
        // Writing to a Vec cannot fail.
        let _ = match address.family() {
            Some(AddressFamily::Inet) => match address.as_sockaddr_in() {
                Some(v4) => {
                    words.write_all(name).and_then(|()| write!(words, " {}/{prefix}\0", v4.ip()))
                }
                None => Ok(()),
            },
            Some(AddressFamily::Inet6) => match address.as_sockaddr_in6() {
                Some(v6) => {
                    words.write_all(name).and_then(|()| write!(words, " {}/{prefix}\0", v6.ip()))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        };
    }
    words
}

fn octets(address: &SockaddrStorage) -> Vec<u8> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => v4.ip().octets().to_vec(),
        (_, Some(v6)) => v6.ip().octets().to_vec(),
        _ => Vec::new(),
    }
}
