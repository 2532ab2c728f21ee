//! `pumice compare`: does a run come to the same as another one, or as one of LAVA's?

use std::io::{self, Read, Write};

use serde_json::json;

use crate::cli::{CompareArgs, Global};
use crate::report::compare::{self, Named};
use crate::store::{find, reader};

/// Writes the results that differ to `out`. The exit status is 0 when none does, else 1.
///
/// # Errors
/// A run or a file is not found or cannot be read, or `out` cannot be written to.
pub fn compare(global: &Global, args: &CompareArgs, out: &mut impl Write) -> io::Result<u8> {
    let ours = of_run(args, &args.run)?;
    let theirs = if args.other.as_os_str() == "-" || args.other.is_file() {
        of_file(args)?
    } else {
        of_run(args, &args.other.to_string_lossy())?
    };
    let comparison = compare::compare(&ours, &theirs);
    if global.json {
        writeln!(out, "{}", json!(comparison))?;
    } else {
        write!(out, "{comparison}")?;
    }
    Ok(u8::from(!comparison.different.is_empty()))
}

fn of_run(args: &CompareArgs, name: &str) -> io::Result<Vec<Named>> {
    let run = find::run_directory(&args.out, name).map_err(io::Error::other)?;
    let summary = reader::summary(&run).map_err(io::Error::other)?;
    Ok(compare::of_run(&summary))
}

fn of_file(args: &CompareArgs) -> io::Result<Vec<Named>> {
    let name = args.other.display();
    let failed = |error: io::Error| io::Error::other(format!("failed to read {name}: {error}"));
    let mut text = String::new();
    let source: Box<dyn Read> = if args.other.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(&args.other).map_err(failed)?)
    };
    source.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    compare::of_lava(&text).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

/// A million results have less.
const FILE_BYTES_MAX: u64 = 1 << 28;
