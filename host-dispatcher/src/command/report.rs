//! `pumice report`: a run as one HTML file, for a browser without a server. Reads the run directory; writes nothing else.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::ReportArgs;
use crate::report::html::{Bound, Html, RunData, RunFile};
use crate::report::summary::Summary;
use crate::report::timeline_spans::TimelineSpans;
use crate::store::reader::{self, RunState};
use crate::store::records::{Records, Window};
use crate::store::{WholeFile, find};

/// Writes the page of a run to its file, whose path `out` is told, or to `out`. The exit status is 0.
///
/// # Errors
/// The run is not found, cannot be read, or the page not written.
pub fn report(args: &ReportArgs, out: &mut impl Write) -> io::Result<u8> {
    let run = find::run_directory(&args.out, &args.run).map_err(io::Error::other)?;
    let place = args.output.clone().unwrap_or_else(|| run.join(FILE));
    if place == Path::new("-") {
        write(&run, out)?;
        return Ok(0);
    }
    let file = WholeFile::begin(&place).map_err(io::Error::other)?;
    let page = write(&run, BufWriter::with_capacity(1 << 16, file))?;
    let file = page.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.commit().map_err(io::Error::other)?;
    writeln!(out, "{}", place.display())?;
    Ok(0)
}

fn write<W: Write>(run: &Path, out: W) -> io::Result<W> {
    let (mut summary, mut spans) = (Summary::default(), TimelineSpans::default());
    // Asked for before the files are read: a run that ends meanwhile is shown as one that goes on.
    let state = RunState::of(run).map_err(io::Error::other)?;
    reader::each(run, |event| {
        summary.handle_event(event);
        spans.handle_event(event);
    })
    .map_err(io::Error::other)?;
    let name = run.file_name().unwrap_or(run.as_os_str()).to_string_lossy();
    let mut html = Html::begin(out, &name, Bound::default())?;
    // A run that was cut off before its first line has no timeline.
    if run.join("timeline.ndjson").exists() {
        let mut records = Records::open(run).map_err(io::Error::other)?;
        let mut window = Window::default();
        while let Some(record) = records.read()? {
            window.push(record);
            while let Some(record) = window.pop_full() {
                html.record(record)?;
            }
        }
        while let Some(record) = window.pop() {
            html.record(record)?;
        }
    }
    let files = files_of(run);
    let summary = summary.with_cases()?;
    let spans = spans.spans();
    html.end(RunData { state, summary, spans, previous: None, files, left_out: 0 })
}

/// The files of a run directory by name; what is being written, and a report of before, are none of the run's.
fn files_of(run: &Path) -> Vec<RunFile> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(run.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let place = folder.join(entry.file_name());
            let is_own =
                !entry.file_name().to_string_lossy().starts_with('.') && place != Path::new(FILE);
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() && folders.len() < FILES_MAX => {
                    folders.push(place);
                }
                Ok(metadata) if metadata.is_file() && is_own && files.len() < FILES_MAX => {
                    let path = place.to_string_lossy().into_owned();
                    files.push(RunFile { path, bytes: metadata.len() });
                }
                _ => {}
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// Beside what it was made of, where links to a run directory find it.
const FILE: &str = "report.html";
/// As many as a run brings home, and its own.
const FILES_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::job::event::{LogRecord, Source};
    use crate::report::summary::tests::panicked_run;
    use crate::store::run_dir::RunDir;
    use crate::store::run_dir::tests::Scratch;

    fn args(run: &Path, output: Option<&str>) -> ReportArgs {
        let run = run.to_str().unwrap().to_owned();
        ReportArgs { run, out: "runs".into(), output: output.map(PathBuf::from) }
    }

    #[test]
    fn a_run_that_goes_on_one_that_was_cut_off_and_one_that_ended() {
        let scratch = Scratch::new();
        let mut run = RunDir::create(&scratch.0, "smoke", Timestamp::UNIX_EPOCH, 1).unwrap();
        let path = run.path().to_owned();
        panicked_run().iter().for_each(|event| run.event(event).unwrap());
        let state = |expected: &str| {
            let mut out = Vec::new();
            assert_eq!(report(&args(&path, Some("-")), &mut out).unwrap(), 0);
            let page = String::from_utf8(out).unwrap();
            assert!(page.contains(&format!("{{\"state\":\"{expected}\",")), "{expected}");
            page
        };
        state("running");
        run.log(&LogRecord::new(Timestamp::UNIX_EPOCH, Source::Kernel, "a line")).unwrap();
        run.finish(&serde_json::Value::Null).unwrap();
        let page = state("ended");
        assert!(page.contains("\"text\":\"a line\"") && page.contains("\"path\":\"run.json\""));
        drop(run);
        fs::remove_file(path.join("run.json")).unwrap();
        fs::remove_file(path.join("timeline.ndjson")).unwrap();
        state("abandoned");
    }

    #[test]
    fn the_page_lies_in_the_run_directory_and_is_none_of_its_files() {
        let scratch = Scratch::new();
        let mut run = RunDir::create(&scratch.0, "smoke", Timestamp::UNIX_EPOCH, 1).unwrap();
        run.event(&panicked_run()[0]).unwrap();
        let place = run.path().join(FILE);
        let mut out = Vec::new();
        report(&args(run.path(), None), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{}\n", place.display()));
        assert!(fs::read_to_string(&place).unwrap().ends_with("</html>\n"));
        assert!(!files_of(run.path()).iter().any(|file| file.path == FILE));
        assert!(report(&args(&scratch.0.join("none"), None), &mut Vec::new()).is_err());
    }
}
