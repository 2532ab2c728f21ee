//! Reads a run directory, as any other tool would: `docs/store.md`.

use std::fs;
use std::path::{Path, PathBuf};

use quick_junit::Report;
use serde_json::Value;

/// A run directory.
#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// The run directory at this path.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The one in a folder.
    ///
    /// # Panics
    /// There is none, or more than one.
    pub fn only_one_in(folder: &Path) -> Self {
        let entries =
            fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let [path] = &paths[..] else { panic!("one run directory is expected: {paths:?}") };
        Self { path: path.clone() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has this file.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// A file of it.
    ///
    /// # Panics
    /// It is not there.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file of it as text, with a mark for each byte that is none.
    ///
    /// # Panics
    /// It is not there.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name)).into_owned()
    }

    /// A JSON file of it.
    ///
    /// # Panics
    /// It is not there, or no JSON.
    pub fn json(&self, name: &str) -> Value {
        let text = self.text(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}:\n{text}"))
    }

    /// A file with a JSON object a line.
    ///
    /// # Panics
    /// It is not there, or a line is no JSON.
    pub fn json_lines(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends in the middle of a line");
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
        };
        text.lines().map(parse).collect()
    }

    /// The same of a file that still grows: its whole lines.
    ///
    /// # Panics
    /// It is not there, or a whole line is no JSON.
    pub fn json_lines_so_far(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
        };
        whole.lines().map(parse).collect()
    }

    /// The events of one name, in order.
    ///
    /// # Panics
    /// As [`Self::json_lines`].
    pub fn events(&self, name: &str) -> Vec<Value> {
        let mut events = self.json_lines("events.ndjson");
        events.retain(|event| event["event"] == name);
        events
    }

    /// The lines of the timeline of one source: their texts.
    ///
    /// # Panics
    /// As [`Self::json_lines`].
    pub fn timeline(&self, source: &str) -> Vec<String> {
        let lines = self.json_lines("timeline.ndjson");
        let of_source = lines.iter().filter(|line| line["source"] == source);
        of_source.map(|line| line["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The JUnit report.
    ///
    /// # Panics
    /// It is not there, or no JUnit report.
    pub fn junit(&self) -> Report {
        let text = self.text("results.junit.xml");
        Report::deserialize_from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    /// The result of a suite, as `run.json`, its own file and the events have it.
    ///
    /// # Panics
    /// They do not agree, or it is not there.
    #[track_caller]
    pub fn result(&self, suite: &str) -> String {
        let run = self.json("run.json");
        let suites = run["suites"].as_array().expect("run.json has suites");
        let of_run = suites.iter().find(|known| known["suite"] == suite);
        let of_run = of_run.unwrap_or_else(|| panic!("run.json has no {suite}: {run:#}"));
        let own = self.json(&format!("tests/{suite}/results.json"));
        // The cases stand in the suite's own file only.
        let mut as_in_run = own.clone();
        let cases = as_in_run.as_object_mut().and_then(|own| own.remove("cases"));
        let cases = cases.unwrap_or_else(|| panic!("{suite} has no list of cases"));
        assert_eq!(&as_in_run, of_run, "{suite}");
        let ends = self.events("test_ended");
        let ended: Vec<&Value> = ends.iter().filter(|event| event["suite"] == suite).collect();
        assert_eq!(ended.len(), 1, "{suite} ends once: {ended:#?}");
        // The event tells what its end alone comes to.
        if cases.as_array().is_some_and(Vec::is_empty) && own["kernel_reports"].is_null() {
            assert_eq!(ended[0]["result"], own["result"], "{suite}");
        }
        own["result"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks what holds for every run directory: nothing is missing, half written or out of order, and its parts tell
    /// the same story. `status` is the exit status that `pumice` had.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn is_complete(&self, verdict: &str, status: i32) {
        for name in FILES {
            assert!(self.has(name), "{name} is missing in {}", self.path.display());
        }
        let halves: Vec<PathBuf> = files_below(&self.path)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "part"))
            .collect();
        assert!(halves.is_empty(), "half written: {halves:?}");

        let run = self.json("run.json");
        assert_eq!(
            (&run["verdict"], &run["exit_status"]),
            (&verdict.into(), &status.into()),
            "{run:#}"
        );
        assert_eq!(run["run"], *self.path.file_name().and_then(|name| name.to_str()).unwrap_or(""));
        let events = self.json_lines("events.ndjson");
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            panic!("no events")
        };
        assert_eq!((&first["event"], &last["event"]), (&"run_started".into(), &"run_ended".into()));
        assert_eq!((&last["verdict"], &last["exit_status"]), (&verdict.into(), &status.into()));

        let times: Vec<String> = self
            .json_lines("timeline.ndjson")
            .iter()
            .map(|line| line["host_time"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert!(times.is_sorted(), "the timeline is out of order");
        assert!(times.iter().all(|time| !time.is_empty()), "a line without a time");

        let report = self.junit();
        let suites = run["suites"].as_array().expect("run.json has suites");
        for suite in suites {
            let name = suite["suite"].as_str().unwrap_or_default();
            self.result(name);
            assert!(
                report.test_suites.iter().any(|known| known.name.as_str() == name),
                "{name} is not in the JUnit report"
            );
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// `docs/store.md`, what every run leaves.
const FILES: [&str; 10] = [
    "job.yaml",
    "board.json",
    "run.json",
    "events.ndjson",
    "console.raw",
    "kernel.log",
    "agent.log",
    "dispatcher.log",
    "timeline.ndjson",
    "results.junit.xml",
];
