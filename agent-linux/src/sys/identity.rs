//! Who the board is: names and addresses that need system calls.

use super::{file, socket};
use crate::text;
use nix::libc::{self, c_char, c_int, ifreq};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `uname -n` and `uname -srvm`.
pub(crate) fn names() -> (String, String) {
    // SAFETY: plain data, for which zeros are a value, and which the kernel fills.
    #[allow(unsafe_code)]
    let uname = unsafe {
        let mut uname: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut uname);
        uname
    };
    let mut kernel = String::new();
    for part in [&uname.sysname, &uname.release, &uname.version, &uname.machine] {
        if !kernel.is_empty() {
            kernel.push(' ');
        }
        kernel.push_str(&until_nul(part));
    }
    (until_nul(&uname.nodename), kernel)
}

fn until_nul(letters: &[c_char]) -> String {
    let bytes: Vec<u8> =
        letters.iter().map(|letter| *letter as u8).take_while(|byte| *byte != 0).collect();
    text::lossy(&bytes)
}

/// `interface address/prefix` of every interface that is up, each ended by a NUL; loopback only if wanted.
///
/// Those of IPv4 by `man 7 netdevice`, those of IPv6 by `man 5 proc` (/proc/net/if_inet6): the C library's `getifaddrs`
/// and the standard library's way to write addresses take more program.
pub(crate) fn addresses(with_loopback: bool) -> Vec<u8> {
    let mut words = Vec::new();
    let Ok(socket) = socket::new(libc::AF_INET, libc::SOCK_DGRAM) else { return words };
    // SAFETY: plain data, for which zeros are a value.
    #[allow(unsafe_code)]
    let mut found: [ifreq; V4_MAX] = unsafe { std::mem::zeroed() };
    for one in v4(&socket, &mut found) {
        let address = octets(one);
        if is_wanted(&socket, one, with_loopback) && ask(&socket, libc::SIOCGIFNETMASK, one) {
            let prefix = octets(one).iter().map(|octet| octet.count_ones()).sum();
            let name = one.ifr_name.iter().map(|byte| *byte as u8);
            words.extend(name.take_while(|byte| *byte != 0));
            let mut before = b' ';
            for octet in address {
                words.push(before);
                push_number(&mut words, octet.into(), 10);
                before = b'.';
            }
            push_prefix(&mut words, prefix);
        }
    }
    for line in file::read_text("/proc/net/if_inet6").lines() {
        let Some(V6 { address, prefix, name }) = V6::parse(line) else { continue };
        // SAFETY: plain data, for which zeros are a value.
        #[allow(unsafe_code)]
        let mut one: ifreq = unsafe { std::mem::zeroed() };
        // A name has at most 15 bytes.
        for (byte, letter) in one.ifr_name.iter_mut().zip(name.bytes().take(15)) {
            *byte = letter as _;
        }
        if is_wanted(&socket, &mut one, with_loopback) {
            words.extend_from_slice(name.as_bytes());
            words.push(b' ');
            push_v6(&mut words, address);
            push_prefix(&mut words, prefix);
        }
    }
    words
}

/// The interfaces that have an IPv4 address, each with one.
fn v4<'a>(socket: &OwnedFd, found: &'a mut [ifreq; V4_MAX]) -> &'a mut [ifreq] {
    let mut list = libc::ifconf {
        ifc_len: size_of_val(found) as c_int,
        ifc_ifcu: libc::__c_anonymous_ifc_ifcu { ifcu_req: found.as_mut_ptr() },
    };
    // SAFETY: the kernel fills as much as it is told, and tells how much it was.
    #[allow(unsafe_code)]
    let told = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF as _, &raw mut list) };
    let count = if told == 0 { list.ifc_len as usize / size_of::<ifreq>() } else { 0 };
    &mut found[..count.min(V4_MAX)]
}

/// Whether the interface is up, and no loopback unless that is wanted. What else is known of it stays.
fn is_wanted(socket: &OwnedFd, one: &mut ifreq, with_loopback: bool) -> bool {
    let mut copy = *one;
    if !ask(socket, libc::SIOCGIFFLAGS, &mut copy) {
        return false;
    }
    // SAFETY: the kernel has filled it in.
    #[allow(unsafe_code)]
    let flags = c_int::from(unsafe { copy.ifr_ifru.ifru_flags });
    flags & libc::IFF_UP != 0 && (with_loopback || flags & libc::IFF_LOOPBACK == 0)
}

/// Asks for one thing about an interface, in place of what is known.
fn ask(socket: &OwnedFd, what: libc::c_ulong, one: &mut ifreq) -> bool {
    // SAFETY: the kernel reads and fills a struct ifreq.
    #[allow(unsafe_code)]
    unsafe {
        libc::ioctl(socket.as_raw_fd(), what as _, &raw mut *one) == 0
    }
}

/// The IPv4 address in it: behind the port of a `struct sockaddr_in`.
fn octets(one: &ifreq) -> [u8; 4] {
    // SAFETY: plain bytes, zeros where the kernel has written none.
    #[allow(unsafe_code)]
    let data = unsafe { one.ifr_ifru.ifru_addr.sa_data };
    [2, 3, 4, 5].map(|index| data[index] as u8)
}

/// A line of /proc/net/if_inet6: address, interface's number, prefix, scope, flags, all in hex, and its name.
struct V6<'a> {
    address: u128,
    prefix: u32,
    name: &'a str,
}

impl<'a> V6<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let address = hex(words.next()?);
        let prefix = hex(words.nth(1)?) as u32;
        Some(Self { address, prefix, name: words.nth(2)? })
    }
}

fn hex(text: &str) -> u128 {
    let digits = text.chars().take(32).filter_map(|digit| digit.to_digit(16));
    digits.fold(0, |number, digit| number << 4 | u128::from(digit))
}

/// As RFC 5952 wants it: the longest run of zeros, from two on, is left out, the first of equal ones.
fn push_v6(words: &mut Vec<u8>, address: u128) {
    let group = |index: usize| (address >> (112 - 16 * index)) as u16;
    let (mut run, mut run_length, mut begin) = (8, 1, 0);
    for index in 0..8 {
        if group(index) != 0 {
            begin = index + 1;
        } else if index + 1 - begin > run_length {
            (run, run_length) = (begin, index + 1 - begin);
        }
    }
    for index in 0..8 {
        if (run..run + run_length).contains(&index) {
            if index == run {
                words.extend_from_slice(b"::");
            }
            continue;
        }
        if index > 0 && index != run + run_length {
            words.push(b':');
        }
        push_number(words, group(index).into(), 16);
    }
}

fn push_prefix(words: &mut Vec<u8>, prefix: u32) {
    words.push(b'/');
    push_number(words, prefix, 10);
    words.push(0);
}

fn push_number(words: &mut Vec<u8>, number: u32, base: u32) {
    if number >= base {
        push_number(words, number / base, base);
    }
    words.push(b"0123456789abcdef"[(number % base) as usize]);
}

/// More IPv4 addresses than a board has; others are left out.
const V4_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn addresses_are_written_as_everybody_does() {
        for text in [
            "::",
            "::1",
            "1::",
            "fe80::5054:ff:fe12:3456",
            "2001:db8:0:1:1:1:1:1",
            "2001:0:0:1::1",
            "2001:db8::1:0:0:1",
            "1:2:3:4:5:6:7:8",
            "0:2:3:4:5:6:7:0",
            "a::8:9",
        ] {
            let address: Ipv6Addr = text.parse().unwrap();
            let mut words = Vec::new();
            push_v6(&mut words, address.to_bits());
            assert_eq!(String::from_utf8(words).unwrap(), address.to_string());
        }
    }

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = "fe80000000000000505400fffe123456 02 40 20 80     eth0";
        let V6 { address, prefix, name } = V6::parse(line).unwrap();
        assert_eq!(Ipv6Addr::from_bits(address).to_string(), "fe80::5054:ff:fe12:3456");
        assert_eq!((prefix, name), (64, "eth0"));
        for bad in ["", "fe80", "00 01 80 10"] {
            assert!(V6::parse(bad).is_none());
        }
    }

    /// Whatever this machine has: a loopback, mostly.
    #[test]
    fn the_addresses_are_those_of_the_c_library() {
        use nix::ifaddrs::getifaddrs;
        use nix::net::if_::InterfaceFlags;
        let mut expected = Vec::new();
        for one in getifaddrs().unwrap().filter(|one| one.flags.contains(InterfaceFlags::IFF_UP)) {
            let Some(address) = one.address else { continue };
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
            let text = v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_string()));
            expected.extend(text.map(|text| [&one.interface_name, " ", &text].concat()));
        }
        let found = String::from_utf8(addresses(true)).unwrap();
        let mut found: Vec<_> =
            found.split_terminator('\0').map(|word| word.rsplit_once('/').unwrap().0).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert!(!addresses(false).windows(3).any(|window| window == b"lo "));
    }
}
