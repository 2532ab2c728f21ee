//! `pumice log`: the timeline of a run, merged and filtered, also while it is being written.
//!
//! A run that goes on writes lines as they come. They are held back for a moment, so that what belongs before them has
//! its chance to come; and the directory is complete when `run.json` is there. One whose writer is gone never will be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::{Global, LogArgs, LogFormat};
use crate::io::hangup::wait_or_hangup;
use crate::job::event::{LogRecord, Stamped};
use crate::job::verdict::ErrorClass;
use crate::report::lava_log_file::Results;
use crate::report::log_filter::Filter;
use crate::report::text::Color;
use crate::report::{lava_log, log_line};
use crate::store::records::{Records, Window};
use crate::store::{find, reader};

/// Writes the log of a run to `out`. The exit status is 0 when it could be read, and for one that is followed when it
/// came to its end too.
///
/// # Errors
/// The run is not found, cannot be read, or `out` cannot be written to; a closed pipe among these.
pub fn log(global: &Global, args: &LogArgs, out: &mut impl Write) -> io::Result<u8> {
    let run = find::run_directory(&args.out, &args.run).map_err(io::Error::other)?;
    let records = Records::open(&run).map_err(io::Error::other)?;
    let start = start_of(&run)?;
    let filter = Filter {
        sources: args.source.clone(),
        level: args.level,
        test: args.test.clone(),
        since: args.since.map(|when| when.in_run(start)),
        until: args.until.map(|when| when.in_run(start)),
        grep: args.grep.clone(),
    };
    let form = if global.json {
        Form::Json
    } else if args.format == LogFormat::Lava {
        Form::Lava(Results::open(&run)?)
    } else {
        let color = io::stdout().is_terminal() && super::wants_color();
        Form::Text(if color { Color::Ansi } else { Color::None })
    };
    let out = io::BufWriter::with_capacity(1 << 16, out);
    let mut printer = Printer { out, start, filter, form };
    let is_complete = print(records, &run, args.follow, &mut printer)?;
    printer.end(&run)?;
    if is_complete {
        return Ok(0);
    }
    let name = run.file_name().unwrap_or(run.as_os_str()).display();
    let message = format!(
        "{name} has no end: the pumice that wrote it is gone; `pumice results` shows how far it came"
    );
    Ok(super::complain_with(ErrorClass::InfrastructureError.exit_status(), &message))
}

/// Everything that is in the file, and with `follow` what comes, until the run is over; `false` when it never will be.
fn print(
    mut records: Records,
    run: &Path,
    follow: bool,
    printer: &mut Printer<impl Write>,
) -> io::Result<bool> {
    let mut window = Window::default();
    // A pause in which nothing came ends the wait for what may belong before.
    let mut is_quiet = false;
    loop {
        // Asked for before the file is read: what comes after the run's end is nothing.
        let is_abandoned = follow && reader::is_abandoned(run).map_err(io::Error::other)?;
        let is_over = !follow || is_abandoned || run.join("run.json").exists();
        let mut has_more = false;
        while let Some(record) = records.read()? {
            has_more = true;
            window.push(record);
            while let Some(record) = window.pop_full() {
                printer.record(&record)?;
            }
        }
        if is_over || (is_quiet && !has_more) {
            while let Some(record) = window.pop() {
                printer.record(&record)?;
            }
            printer.out.flush()?;
        }
        if is_over {
            return Ok(!is_abandoned);
        }
        is_quiet = !has_more;
        if wait_or_hangup(io::stdout(), FOLLOW_EVERY) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

struct Printer<W: Write> {
    out: W,
    start: Timestamp,
    filter: Filter,
    form: Form,
}

enum Form {
    Text(Color),
    Json,
    Lava(Results),
}

impl<W: Write> Printer<W> {
    fn record(&mut self, record: &LogRecord) -> io::Result<()> {
        if !self.filter.takes(record) {
            return Ok(());
        }
        match &mut self.form {
            Form::Text(color) => {
                self.out.write_all(log_line::line(record, self.start, *color).as_bytes())
            }
            Form::Json => {
                let mut line = serde_json::to_vec(record)?;
                line.push(b'\n');
                self.out.write_all(&line)
            }
            Form::Lava(results) => {
                results.until(record.host_time, &mut self.out)?;
                self.out.write_all(lava_log::record(record).as_bytes())
            }
        }
    }

    fn end(&mut self, run: &Path) -> io::Result<()> {
        if let Form::Lava(results) = &mut self.form {
            results.until(Timestamp::MAX, &mut self.out)?;
            let summary = reader::summary(run).map_err(io::Error::other)?;
            self.out.write_all(lava_log::end(&summary).as_bytes())?;
        }
        self.out.flush()
    }
}

/// When the run began: its first event, or its first line.
fn start_of(run: &Path) -> io::Result<Timestamp> {
    let first: PathBuf = run.join("events.ndjson");
    let mut line = Vec::new();
    BufReader::new(File::open(first)?.take(EVENT_BYTES_MAX)).read_until(b'\n', &mut line)?;
    if let Ok(stamped) = serde_json::from_slice::<Stamped>(&line) {
        return Ok(stamped.time);
    }
    let mut records = Records::open(run).map_err(io::Error::other)?;
    Ok(records.read()?.map_or(Timestamp::UNIX_EPOCH, |record| record.host_time))
}

/// A person who watches sees no delay; a file that does not grow costs nothing.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// As in the reader of events.
const EVENT_BYTES_MAX: u64 = 1 << 20;
