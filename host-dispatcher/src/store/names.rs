//! Names of files in a run directory, made of text that anybody may have written.
//!
//! Guarantees that what comes out is one component, or components below `tests/` or `board/`; that different texts do
//! not share a name; and that no name is longer than a file system takes.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// One component of a path from a text: letters, digits and `. _ -` stay, a run of anything else becomes one `-`.
/// Lower case is not forced. Never empty, never beginning with `.` or `-`, at most `max` bytes (of at least 16).
pub fn component(text: &str, max: usize) -> String {
    let mut clean = String::new();
    for c in text.chars().take(max.saturating_mul(4)) {
        let kept = c.is_ascii_alphanumeric() || c == '.' || c == '_';
        if kept {
            clean.push(c);
        } else if !clean.ends_with('-') {
            clean.push('-');
        }
    }
    let clean = clean.trim_start_matches(['.', '-']).trim_end_matches('-');
    let clean: String = clean.chars().take(max).collect();
    if clean.is_empty() { "unnamed".into() } else { clean }
}

/// Like [`component`], and different for different texts: a text that had to be changed gets a mark of its content.
pub fn distinct_component(text: &str, max: usize) -> String {
    let clean = component(text, max);
    if clean == text {
        return clean;
    }
    let digest = Sha256::digest(text.as_bytes());
    let mark = format!("-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let mut marked = component(text, max.saturating_sub(mark.len()));
    marked.push_str(&mark);
    marked
}

/// Where in a run directory a file goes that a board calls `name`: below `tests/` and `pstore/` as it says, anything else
/// below `board/`. The dispatcher's own files are out of its reach.
pub fn place_of_board_file(name: &str) -> PathBuf {
    let mut parts = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).peekable();
    let mut place = PathBuf::new();
    let folder = parts.next_if(|part| matches!(*part, "tests" | "pstore"));
    place.push(folder.filter(|_| parts.peek().is_some()).unwrap_or("board"));
    let parts: Vec<&str> = parts.collect();
    if parts.len() > DEPTH_MAX {
        // Deeper than any real name: one name for the whole of it.
        place.push(distinct_component(&parts.join("/"), COMPONENT_BYTES_MAX));
    } else if parts.is_empty() {
        place.push("unnamed");
    } else {
        place.extend(parts.iter().map(|part| distinct_component(part, COMPONENT_BYTES_MAX)));
    }
    place
}

/// Six letters and digits from a random number, without those that look alike.
pub fn run_id(random: u64) -> String {
    (0..6)
        .map(|index| char::from(ID_LETTERS[(random >> (5 * index)) as usize % ID_LETTERS.len()]))
        .collect()
}

/// Longer names are shortened; file systems take 255 bytes, and a temporary name adds some.
const COMPONENT_BYTES_MAX: usize = 100;
/// Attachments in folders of folders; with 100 bytes each far below PATH_MAX.
const DEPTH_MAX: usize = 8;
const ID_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn components() {
        for (text, expected) in [
            ("smoke on bookworm", "smoke-on-bookworm"),
            ("../../etc/passwd", "etc-passwd"),
            ("", "unnamed"),
            ("...", "unnamed"),
            ("-rf", "rf"),
            ("Prüfung № 5", "Pr-fung-5"),
            ("a\0b\n", "a-b"),
        ] {
            assert_eq!(component(text, 40), expected, "{text:?}");
        }
        assert_eq!(component(&"x".repeat(1000), 40).len(), 40);
        assert_ne!(distinct_component("a b", 40), distinct_component("a-b", 40));
    }

    #[test]
    fn places() {
        for (name, expected) in [
            ("tests/uname/stdout.log", "tests/uname/stdout.log"),
            ("/tests//uname/./stdout.log", "tests/uname/stdout.log"),
            ("events.ndjson", "board/events.ndjson"),
            ("tests", "board/unnamed"),
            ("../run.json", "board/run.json"),
            ("tests/../../run.json", "tests/run.json"),
            ("", "board/unnamed"),
        ] {
            assert_eq!(place_of_board_file(name), PathBuf::from(expected), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_run_directory(name in "(\\PC|[./\\x00-\\x20]|tests/){0,300}") {
            let place = place_of_board_file(&name);
            prop_assert!(["tests", "pstore", "board"].iter().any(|top| place.starts_with(top)));
            prop_assert!((2..=DEPTH_MAX + 1).contains(&place.components().count()));
            for part in place.components() {
                let Component::Normal(part) = part else { panic!("{part:?} in {place:?}") };
                let part = part.to_str().unwrap();
                prop_assert!(part.len() <= COMPONENT_BYTES_MAX && !part.starts_with(['.', '-']));
                prop_assert!(part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            }
        }
    }

    #[test]
    fn ids_have_six_letters() {
        assert_eq!(run_id(0), "aaaaaa");
        assert_eq!(run_id(u64::MAX).len(), 6);
    }
}
