//! The results in a run directory: what is made of a run's summary, and of what its suites printed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::run_dir::{keep_first, one};
use super::{StoreError, names, write_json, write_whole};
use crate::job::event::{ByteRange, Source};
use crate::report::junit;
use crate::report::summary::Summary;

/// Writes what can be made of a summary alone: `tests/<suite>/results.json` and `results.junit.xml`.
///
/// # Errors
/// A failed write.
pub fn write(path: &Path, summary: &Summary) -> Result<(), StoreError> {
    let mut first = Ok(());
    for suite in &summary.suites {
        let folder =
            path.join(names::place_of_board_file(&format!("tests/{}/x", one(&suite.suite))));
        let folder = folder.parent().unwrap_or(path);
        let made = fs::create_dir_all(folder).map_err(StoreError::of("create", folder));
        let written = made.and_then(|()| write_json(&folder.join("results.json"), &suite.whole()));
        keep_first(&mut first, written);
    }
    let place = path.join("results.junit.xml");
    let xml = junit::xml(summary, &mut |suite, source, range| output(path, suite, source, range))
        .map_err(|error| StoreError::of("encode", &place)(io::Error::other(error)));
    keep_first(&mut first, xml.and_then(|xml| write_whole(&place, xml.as_bytes())));
    first
}

/// Bytes of a suite's output as it stands in a run directory; nothing where it is not there.
pub fn output(path: &Path, suite: &str, source: Source, range: ByteRange) -> Option<Vec<u8>> {
    let place =
        names::place_of_board_file(&format!("tests/{}/{}.log", one(suite), source.as_str()));
    let mut file = File::open(path.join(place)).ok()?;
    file.seek(SeekFrom::Start(range.from)).ok()?;
    let mut bytes = Vec::new();
    file.take(range.to.saturating_sub(range.from)).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
