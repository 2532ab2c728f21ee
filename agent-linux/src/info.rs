//! Who the board is: what [`response::Info`] tells.

use crate::partitions::Partitions;
use crate::sys::tty::LineErrors;
use crate::sys::{clock, file, identity};
use crate::text;
use agent_core::agent::Role;
use agent_core::wire::response;

/// Everything for an `Info`, in memory of its own.
#[derive(Debug)]
pub(crate) struct Gathered {
    role: u8,
    boot_id: String,
    machine_id: String,
    host_name: String,
    kernel: String,
    model: String,
    addresses: Vec<u8>,
    partitions: Vec<u8>,
    memory_kib: u64,
    agent_resident_kib: u64,
    uptime_us: u64,
    line: LineErrors,
}

impl Gathered {
    /// Looks everywhere. What cannot be found is empty.
    pub(crate) fn now(role: Role, partitions: &Partitions, line: LineErrors) -> Self {
        let (mut host_name, mut kernel) = identity::names();
        host_name.truncate(floor(&host_name, TEXT_MAX));
        kernel.truncate(floor(&kernel, TEXT_MAX));
        let mut addresses = identity::addresses(false);
        if addresses.len() > WORDS_MAX {
            // Whole words only.
            let end = addresses[..WORDS_MAX].iter().rposition(|byte| *byte == 0);
            addresses.truncate(end.map_or(0, |end| end + 1));
        }
        Self {
            role: if matches!(role, Role::Test) {
                response::Info::TEST
            } else {
                response::Info::MASTER
            },
            boot_id: read_line("/proc/sys/kernel/random/boot_id"),
            machine_id: read_line("/etc/machine-id"),
            host_name,
            kernel,
            model: read_line("/proc/device-tree/model"),
            addresses,
            partitions: partitions.labels(WORDS_MAX),
            memory_kib: kib("/proc/meminfo", "MemTotal:"),
            agent_resident_kib: kib("/proc/self/status", "VmRSS:"),
            uptime_us: clock::uptime_us(),
            line,
        }
    }

    /// As it travels.
    pub(crate) fn as_response(&self) -> response::Info<'_> {
        response::Info {
            version: env!("CARGO_PKG_VERSION"),
            role: self.role,
            boot_id: &self.boot_id,
            machine_id: &self.machine_id,
            host_name: &self.host_name,
            kernel: &self.kernel,
            model: &self.model,
            addresses: &self.addresses,
            partitions: &self.partitions,
            memory_kib: self.memory_kib,
            agent_resident_kib: self.agent_resident_kib,
            uptime_us: self.uptime_us,
            line_overruns: self.line.overruns,
            line_errors: self.line.errors,
        }
    }
}

/// The boot id as bytes; zeros when the kernel tells none.
pub(crate) fn boot_id() -> [u8; 16] {
    parse_uuid(&read_line("/proc/sys/kernel/random/boot_id"))
}

/// A number that differs from start to start.
pub(crate) fn nonce() -> u32 {
    let random = parse_uuid(&read_line("/proc/sys/kernel/random/uuid"));
    // Without /proc: the time, which differs too. The first bytes of a random UUID are all random.
    let time = (clock::wall_us() ^ clock::uptime_us() << 20) as u32;
    u32::from_le_bytes([random[0], random[1], random[2], random[3]]) ^ time
}

fn parse_uuid(text: &str) -> [u8; 16] {
    let mut digits = text.bytes().filter_map(|digit| char::from(digit).to_digit(16));
    let mut id = [0; 16];
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else { return [0; 16] };
        *byte = (high << 4 | low) as u8;
    }
    id
}

/// The first line of a file without the NUL that a device tree ends it with.
fn read_line(path: &str) -> String {
    let bytes = file::read(path);
    let line = bytes.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
    let mut text = text::lossy(line);
    text.truncate(floor(&text, TEXT_MAX));
    text
}

/// Memory that programs could still take, KiB (`MemAvailable` of `man 5 proc_meminfo`).
pub(crate) fn available_kib() -> u64 {
    kib("/proc/meminfo", "MemAvailable:")
}

/// The number behind `key` in one of /proc's tables.
fn kib(path: &str, key: &str) -> u64 {
    let table = file::read_text(path);
    let line = table.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_ascii_whitespace().next()).and_then(text::parse).unwrap_or(0)
}

/// The last place at or before `max` where a text can be cut.
fn floor(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

/// Longest text in bytes; there are five in an answer of `ANSWER_MAX`.
const TEXT_MAX: usize = 200;

/// Longest list of words in bytes; there are two.
const WORDS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::agent::ANSWER_MAX;
    use agent_core::wire::{Method, envelope};

    #[test]
    fn this_machine_says_who_it_is() {
        let partitions = Partitions::new(vec![("a".to_owned(), "/x".to_owned())]);
        let gathered = Gathered::now(Role::Test, &partitions, LineErrors::default());
        let info = gathered.as_response();
        assert!(info.kernel.starts_with("Linux ") && !info.host_name.is_empty());
        assert!(info.memory_kib > 1000 && info.agent_resident_kib > 100 && info.uptime_us > 0);
        assert_eq!((info.boot_id.len(), info.role), (36, response::Info::TEST));
        assert!(info.partitions.starts_with(b"a\0"));
        assert!(envelope::encode(Method::INFO, 1, &info, &mut [0; ANSWER_MAX]).is_ok());
        assert_ne!(boot_id(), [0; 16]);
        assert_ne!(nonce(), nonce());
    }

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let id = parse_uuid("01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!(id, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(parse_uuid("0102"), [0; 16]);
    }
}
