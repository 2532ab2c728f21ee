//! The partitions of a whole-disk image: GPT (512 or 4096 byte sectors) or MBR with its logical partitions.
//!
//! Read here and not by a crate: the known ones set memory aside for as many entries as a header claims, or follow a chain
//! of logical partitions in a circle. Here a table has at most 128 partitions, and each lies within the image.

use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::error::Cause;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPartition {
    /// As Linux counts: from 1, logical ones of MBR from 5.
    pub number: u32,
    /// Where it lies in the image.
    pub bytes: Range<u64>,
    /// Its name in GPT; empty in MBR.
    pub name: String,
    /// Its file system's label, where it is ext2 to ext4 or FAT and has one.
    pub label: String,
}

/// The partitions of a disk; nothing if the image is none.
pub(super) fn partitions(
    file: &File,
    image_bytes: u64,
) -> Result<Option<Vec<DiskPartition>>, Cause> {
    let image = Image { file, bytes: image_bytes };
    for sector in [512, 4096] {
        if let Some(header) = image.read::<92>(sector)?
            && header.starts_with(b"EFI PART")
        {
            return image.gpt(&header, sector).map(Some);
        }
    }
    let Some(first) = image.read::<512>(0)? else { return Ok(None) };
    if !image.is_mbr(&first)? {
        return Ok(None);
    }
    image.mbr(&first).map(Some)
}

/// The partition for a role (`testboot`, `testrootfs`): by the number that the job states, else the only one whose GPT
/// name, else whose label is the role, else a usual word for it.
pub(super) fn choose<'a>(
    partitions: &'a [DiskPartition],
    role: &str,
    number: Option<u32>,
) -> Result<&'a DiskPartition, Cause> {
    let found: Vec<&DiskPartition> = match number {
        Some(number) => partitions.iter().filter(|part| part.number == number).collect(),
        None => by_words(partitions, role),
    };
    let what =
        number.map_or_else(|| format!("for {role}"), |number| format!("with the number {number}"));
    match found[..] {
        [part] => Ok(part),
        [] => Err(refused(partitions, role, &format!("the disk has no partition {what}"))),
        _ => Err(refused(partitions, role, &format!("the disk has several partitions {what}"))),
    }
}

/// Whether one partition or several are for a role, by their words.
pub(super) fn has(partitions: &[DiskPartition], role: &str) -> bool {
    !by_words(partitions, role).is_empty()
}

fn by_words<'a>(partitions: &'a [DiskPartition], role: &str) -> Vec<&'a DiskPartition> {
    let usual: &[&str] = match role {
        "testboot" => &["boot", "bootfs"],
        "testrootfs" => &["rootfs", "root", "rootfs_a"],
        _ => &[],
    };
    let with = |words: &[&str]| {
        let is = |text: &str| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        let named: Vec<_> = partitions.iter().filter(|part| is(&part.name)).collect();
        if named.is_empty() {
            partitions.iter().filter(|part| is(&part.label)).collect()
        } else {
            named
        }
    };
    let exact = with(&[role]);
    if exact.is_empty() { with(usual) } else { exact }
}

fn refused(partitions: &[DiskPartition], role: &str, why: &str) -> Cause {
    let list = partitions.iter().take(16).fold(String::new(), |mut list, part| {
        let mebibytes = (part.bytes.end - part.bytes.start) >> 20;
        let _ = write!(list, ", {} ({mebibytes} MiB", part.number);
        for (what, text) in [("name", &part.name), ("label", &part.label)] {
            if !text.is_empty() {
                let _ = write!(list, ", {what} {text}");
            }
        }
        list.push(')');
        list
    });
    let list = list.strip_prefix(", ").unwrap_or("none");
    Cause::unusable(
        format!("{why}; it has {list}"),
        format!("say which: deploy: {{partitions: {{{role}: NUMBER}}}}"),
    )
}

struct Image<'a> {
    file: &'a File,
    bytes: u64,
}

impl Image<'_> {
    /// `None` where the image ends before.
    fn read<const N: usize>(&self, at: u64) -> Result<Option<[u8; N]>, Cause> {
        if at.checked_add(N as u64).is_none_or(|end| end > self.bytes) {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at).map_err(Cause::Read)?;
        Ok(Some(bytes))
    }

    /// UEFI 2.10 §5.3.
    fn gpt(&self, header: &[u8; 92], sector: u64) -> Result<Vec<DiskPartition>, Cause> {
        let mut zeroed = *header;
        zeroed[16..20].fill(0);
        if crc32fast::hash(&zeroed) != word(header, 16) {
            return Err(damaged("the header's check value is wrong"));
        }
        let (table, count, entry_bytes) = (long(header, 72), word(header, 80), word(header, 84));
        if !(1..=PARTITIONS_MAX).contains(&count) || !(128..=4096).contains(&entry_bytes) {
            return Err(damaged("more than 128 partitions, or entries of an impossible size"));
        }
        let mut crc = crc32fast::Hasher::new();
        let mut partitions = Vec::new();
        for index in 0..count {
            let outside = || damaged("it lies outside the image");
            let at = table
                .checked_mul(sector)
                .and_then(|at| at.checked_add(u64::from(index) * u64::from(entry_bytes)))
                .filter(|at| {
                    at.checked_add(entry_bytes.into()).is_some_and(|end| end <= self.bytes)
                })
                .ok_or_else(outside)?;
            let mut entry = vec![0; entry_bytes as usize];
            self.file.read_exact_at(&mut entry, at).map_err(Cause::Read)?;
            crc.update(&entry);
            if entry[..16] == [0; 16] {
                continue;
            }
            let units: Vec<u16> = entry[56..128]
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .take_while(|unit| *unit != 0)
                .collect();
            let (first, last) = (long(&entry, 32), long(&entry, 40));
            let end = last.checked_add(1).and_then(|end| end.checked_mul(sector));
            let start = first.checked_mul(sector);
            let name = printable(&String::from_utf16_lossy(&units));
            partitions.push(self.partition(index + 1, start, end, name)?);
        }
        if crc.finalize() != word(header, 88) {
            return Err(damaged("the table's check value is wrong"));
        }
        Ok(partitions)
    }

    /// A FAT file system has the same two bytes at its end, and so may boot code without a table.
    fn is_mbr(&self, first: &[u8; 512]) -> Result<bool, Cause> {
        if first[510..] != [0x55, 0xaa] || &first[54..57] == b"FAT" || &first[82..85] == b"FAT" {
            return Ok(false);
        }
        let ext = self.read::<2>(1080)?;
        let mut used = 0;
        for entry in entries(first) {
            if entry[0] & 0x7f != 0 {
                return Ok(false);
            }
            if entry[4] != 0 {
                used += 1;
                if word(entry, 8) == 0 || word(entry, 12) == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(used > 0 && ext != Some([0x53, 0xef]))
    }

    fn mbr(&self, first: &[u8; 512]) -> Result<Vec<DiskPartition>, Cause> {
        let mut partitions = Vec::new();
        let mut extended = None;
        let place = |base: u64, entry: &[u8]| {
            let start = (base + u64::from(word(entry, 8))) * 512;
            (start, start + u64::from(word(entry, 12)) * 512)
        };
        for (number, entry) in (1..).zip(entries(first)) {
            match entry[4] {
                0 => {}
                0x05 | 0x0f | 0x85 => extended = Some(u64::from(word(entry, 8))),
                _ => {
                    let (start, end) = place(0, entry);
                    partitions.push(self.partition(
                        number,
                        Some(start),
                        Some(end),
                        String::new(),
                    )?);
                }
            }
        }
        let Some(base) = extended else { return Ok(partitions) };
        // Each logical partition has a table of its own, which points to the next.
        let (mut at, mut number) = (base, 5);
        while number < 5 + PARTITIONS_MAX {
            let Some(table) = self.read::<512>(at * 512)? else {
                return Err(damaged("it lies outside the image"));
            };
            if table[510..] != [0x55, 0xaa] {
                return Err(damaged("a logical partition's table is none"));
            }
            let mut tables = entries(&table);
            if let Some(entry) = tables.next().filter(|entry| entry[4] != 0) {
                let (start, end) = place(at, entry);
                partitions.push(self.partition(number, Some(start), Some(end), String::new())?);
                number += 1;
            }
            match tables.next().filter(|entry| entry[4] != 0).map(|entry| u64::from(word(entry, 8)))
            {
                None => return Ok(partitions),
                Some(next) if base + next > at => at = base + next,
                Some(_) => return Err(damaged("its logical partitions go in a circle")),
            }
        }
        Err(damaged("more than 128 logical partitions"))
    }

    fn partition(
        &self,
        number: u32,
        start: Option<u64>,
        end: Option<u64>,
        name: String,
    ) -> Result<DiskPartition, Cause> {
        let (Some(start), Some(end)) = (start, end) else {
            return Err(damaged("a partition lies outside the image"));
        };
        if start >= end || end > self.bytes {
            return Err(damaged(&format!(
                "the partition {number} lies outside the image, which may be cut short"
            )));
        }
        Ok(DiskPartition { number, bytes: start..end, name, label: self.label(start)? })
    }

    /// Linux, `fs/ext4/ext4.h` (`s_magic`, `s_volume_name`); FAT: the extended boot record.
    fn label(&self, start: u64) -> Result<String, Cause> {
        if let Some(block) = self.read::<136>(start + 1024)?
            && block[56..58] == [0x53, 0xef]
        {
            return Ok(text(&block[120..136]));
        }
        if let Some(boot) = self.read::<90>(start)? {
            if &boot[82..87] == b"FAT32" {
                return Ok(text(&boot[71..82]));
            }
            if &boot[54..57] == b"FAT" {
                return Ok(text(&boot[43..54]));
            }
        }
        Ok(String::new())
    }
}

fn entries(table: &[u8; 512]) -> impl Iterator<Item = &[u8]> {
    table[446..510].chunks_exact(16)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    printable(String::from_utf8_lossy(&bytes[..end]).trim_end())
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn damaged(why: &str) -> Cause {
    Cause::Damaged("partition table", why.to_owned())
}

const PARTITIONS_MAX: u32 = 128;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;

    /// A disk of 4 MiB with a GPT; first and last sector, and name of each partition.
    pub(in crate::image) fn gpt_disk(parts: &[(u64, u64, &str)]) -> Vec<u8> {
        let mut disk = vec![0; 4 << 20];
        for (index, (first, last, name)) in parts.iter().enumerate() {
            let entry = &mut disk[1024 + index * 128..][..128];
            entry[..16].fill(1);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (at, unit) in name.encode_utf16().enumerate() {
                entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let table = crc32fast::hash(&disk[1024..1024 + 128 * 128]);
        let header = &mut disk[512..604];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        header[72..80].copy_from_slice(&2_u64.to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&table.to_le_bytes());
        let check = crc32fast::hash(header).to_le_bytes();
        disk[528..532].copy_from_slice(&check);
        disk
    }

    fn read(disk: &[u8]) -> Result<Option<Vec<DiskPartition>>, String> {
        let folder = TestFolder::new();
        let path = folder.path().join("disk");
        std::fs::write(&path, disk).unwrap();
        partitions(&File::open(&path).unwrap(), disk.len() as u64).map_err(shown)
    }

    fn shown(cause: Cause) -> String {
        super::super::error::ImageError::new(std::path::Path::new("disk"), cause).to_string()
    }

    fn mbr_entry(disk: &mut [u8], at: usize, kind: u8, first: u32, count: u32) {
        disk[at + 4] = kind;
        disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    }

    #[test]
    fn gpt_names_and_labels() {
        let mut disk =
            gpt_disk(&[(64, 127, "boot"), (128, 4095, "data"), (4096, 8000, "testrootfs")]);
        disk[128 * 512 + 1080..][..2].copy_from_slice(&[0x53, 0xef]);
        disk[128 * 512 + 1144..][..8].copy_from_slice(b"testboot");
        let parts = read(&disk).unwrap().unwrap();
        assert_eq!(parts[1].bytes, 65536..4096 * 512);
        assert_eq!(
            choose(&parts, "testboot", None).unwrap().number,
            2,
            "the label before the usual word"
        );
        assert_eq!(choose(&parts, "testrootfs", None).unwrap().number, 3);
        assert_eq!(choose(&parts, "testrootfs", Some(1)).unwrap().number, 1);
        let error = shown(choose(&parts[..1], "testrootfs", None).unwrap_err());
        assert!(
            error.contains("no partition for testrootfs; it has 1 (0 MiB, name boot)"),
            "{error}"
        );
        assert!(error.ends_with("deploy: {partitions: {testrootfs: NUMBER}}"), "{error}");
    }

    #[test]
    fn lying_tables_are_errors() {
        let good = gpt_disk(&[(64, 127, "a")]);
        for (at, expected) in [(520, "header's check"), (1024 + 60, "table's check")] {
            let mut disk = good.clone();
            disk[at] ^= 1;
            assert!(read(&disk).unwrap_err().contains(expected));
        }
        for parts in [[(64, u64::MAX, "a")], [(64, 1 << 40, "a")], [(9, 8, "a")]] {
            assert!(read(&gpt_disk(&parts)).unwrap_err().contains("outside the image"));
        }
        let mut disk = good;
        disk[512 + 80..512 + 84].copy_from_slice(&u32::MAX.to_le_bytes());
        disk[528..532].fill(0);
        let check = crc32fast::hash(&disk[512..604]).to_le_bytes();
        disk[528..532].copy_from_slice(&check);
        assert!(read(&disk).unwrap_err().contains("more than 128"));
    }

    #[test]
    fn mbr_with_logical_partitions() {
        let mut disk = vec![0; 1 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        mbr_entry(&mut disk, 446, 0x0c, 64, 64);
        mbr_entry(&mut disk, 462, 0x83, 128, 64);
        mbr_entry(&mut disk, 478, 0x05, 1000, 1000);
        for (at, next) in [(1000, 100), (1100, 0)] {
            disk[at * 512 + 510..][..2].copy_from_slice(&[0x55, 0xaa]);
            mbr_entry(&mut disk, at * 512 + 446, 0x83, 8, 16);
            if next > 0 {
                mbr_entry(&mut disk, at * 512 + 462, 0x05, next, 50);
            }
        }
        disk[64 * 512 + 82..][..5].copy_from_slice(b"FAT32");
        disk[64 * 512 + 71..][..11].copy_from_slice(b"bootfs     ");
        let parts = read(&disk).unwrap().unwrap();
        let numbers: Vec<_> =
            parts.iter().map(|part| (part.number, part.bytes.start / 512)).collect();
        assert_eq!(numbers, [(1, 64), (2, 128), (5, 1008), (6, 1108)]);
        assert_eq!(choose(&parts, "testboot", None).unwrap().number, 1);
        mbr_entry(&mut disk, 1100 * 512 + 462, 0x05, 0, 50);
        assert!(read(&disk).unwrap_err().contains("in a circle"));
    }

    #[test]
    fn file_systems_are_no_disks() {
        let mut fat = vec![0; 1 << 20];
        fat[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(read(&fat), Ok(None));
        fat[54..57].copy_from_slice(b"FAT");
        mbr_entry(&mut fat, 446, 0x0c, 64, 64);
        assert_eq!(read(&fat), Ok(None));
        assert_eq!(read(&[0; 100]), Ok(None));
    }
}
