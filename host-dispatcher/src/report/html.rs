//! A run as one HTML file: the page's own code with the run's data in it, without any network.
//!
//! The data are JSON in elements that are never run; `<` stands in them as an escape, so that no text of a board ends such
//! an element. The policy in the file's head allows exactly the one script and the one style that are written here, by
//! their digests.

use std::collections::VecDeque;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::bundle::bundle;
use super::page;
use super::timeline_spans::Span;
use crate::job::event::{LogRecord, Source};
use crate::store::reader::RunState;

/// Writes the file: first the log's records one after another, then the rest. Memory is bounded by [`Bound`].
#[derive(Debug)]
pub struct Html<W> {
    out: W,
    bound: Bound,
    /// Records that were given.
    given: u64,
    /// Of those that are written already, and of the ones in `last`.
    first: Amount,
    last: VecDeque<(u64, LogRecord)>,
    last_bytes: usize,
    left_out: u64,
    /// The first of the records between.
    gap: Option<(u64, LogRecord)>,
}

/// How much of a log is in the file. Of a longer one the first half of that is, and the last.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Lines.
    pub lines: usize,
    /// Bytes of their texts, and 160 each for the rest.
    pub bytes: usize,
}

/// What the page shows beside the log; the answer of the server for a run, and the list of its files.
#[derive(Debug, Serialize)]
pub struct RunData {
    /// How far the run is.
    pub state: RunState,
    /// What it came to, with the cases of its suites.
    pub summary: serde_json::Value,
    /// What went on when.
    pub spans: Vec<Span>,
    /// The run before it of the same job, if the page can show it.
    pub previous: Option<String>,
    /// The files of its directory.
    pub files: Vec<RunFile>,
    /// Records of the log that the page has not.
    pub left_out: u64,
}

/// A file of a run directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunFile {
    /// Relative to the run directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    lines: usize,
    bytes: usize,
}

/// A record as the server gives it.
#[derive(Serialize)]
struct Numbered<'a> {
    n: u64,
    #[serde(flatten)]
    record: &'a LogRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

impl<W: Write> Html<W> {
    /// Begins the file of a run of this name.
    ///
    /// # Errors
    /// A failed write.
    pub fn begin(mut out: W, run: &str, bound: Bound) -> io::Result<Self> {
        let style = page::asset("page.css").map_or("", page::Asset::text);
        let script = bundle(ENTRY);
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src '{}'; style-src '{}'; \
             img-src data:; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>{} · Pumice</title>\n\
             <link rel=\"icon\" href=\"data:image/svg+xml;base64,{}\">\n<style>{style}</style>\n</head>\n<body>\n\
             <noscript>This page needs JavaScript.</noscript>\n\
             <script type=\"module\">{script}</script>\n\
             <script type=\"application/json\" id=\"pumice-log\">[",
            digest(&script),
            digest(style),
            text(run),
            STANDARD.encode(page::asset("icon.svg").map_or("", page::Asset::text)),
        )?;
        Ok(Self {
            out,
            bound,
            given: 0,
            first: Amount::default(),
            last: VecDeque::new(),
            last_bytes: 0,
            left_out: 0,
            gap: None,
        })
    }

    /// The next record of the log.
    ///
    /// # Errors
    /// A failed write.
    pub fn record(&mut self, record: LogRecord) -> io::Result<()> {
        let n = self.given;
        self.given += 1;
        let bytes = RECORD_BYTES + record.text.len();
        let has_room = self.last.is_empty()
            && self.first.lines < self.bound.lines.div_ceil(2)
            && self.first.bytes + bytes <= self.bound.bytes / 2;
        if has_room {
            let is_first = self.first.lines == 0;
            self.first.lines += 1;
            self.first.bytes += bytes;
            return self.write(is_first, &Numbered { n, record: &record, left_out: None });
        }
        self.last_bytes += bytes;
        self.last.push_back((n, record));
        while self.last.len() > self.bound.lines / 2 || self.last_bytes > self.bound.bytes / 2 {
            let Some(dropped) = self.last.pop_front() else { break };
            self.last_bytes -= RECORD_BYTES + dropped.1.text.len();
            self.left_out += 1;
            self.gap.get_or_insert(dropped);
        }
        Ok(())
    }

    /// Ends the file; `left_out` of the data is filled in here.
    ///
    /// # Errors
    /// A failed write.
    pub fn end(mut self, mut data: RunData) -> io::Result<W> {
        let mut is_first = self.first.lines == 0;
        if let Some((n, first)) = self.gap.take() {
            let mark = LogRecord::new(first.host_time, Source::Dispatcher, "");
            self.write(is_first, &Numbered { n, record: &mark, left_out: Some(self.left_out) })?;
            is_first = false;
        }
        for (n, record) in std::mem::take(&mut self.last) {
            self.write(is_first, &Numbered { n, record: &record, left_out: None })?;
            is_first = false;
        }
        data.left_out = self.left_out;
        write!(
            self.out,
            "\n]</script>\n<script type=\"application/json\" id=\"pumice-run\">\n{}\n</script>\n</body>\n</html>\n",
            json(&data)?
        )?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, is_first: bool, record: &Numbered<'_>) -> io::Result<()> {
        self.out.write_all(if is_first { b"\n" } else { b",\n" })?;
        self.out.write_all(json(record)?.as_bytes())
    }
}

impl Default for Bound {
    /// What a browser opens in a few seconds.
    fn default() -> Self {
        Self { lines: 200_000, bytes: 64 << 20 }
    }
}

/// JSON that ends no element of HTML: outside of texts JSON has no `<`.
fn json(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value)?;
    Ok(if json.contains('<') { json.replace('<', "\\u003c") } else { json })
}

/// As a policy has it.
fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a record takes beside its text.
const RECORD_BYTES: usize = 160;
/// The module that shows a run whose data stand in the page.
const ENTRY: &str = "report_main.js";

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::report::summary::Summary;
    use crate::report::summary::tests::run_with_cases;
    use crate::report::timeline_spans::TimelineSpans;

    fn record(number: i64, text: &str) -> LogRecord {
        LogRecord::new(
            Timestamp::from_second(1_330_560_000 + number).unwrap(),
            Source::Kernel,
            text,
        )
    }

    fn page(texts: &[&str], bound: Bound) -> String {
        let events = run_with_cases();
        let mut html = Html::begin(Vec::new(), "a <run> & more", bound).unwrap();
        for (number, text) in (0..).zip(texts) {
            html.record(record(number, text)).unwrap();
        }
        let data = RunData {
            state: RunState::Ended,
            summary: Summary::of(&events).with_cases().unwrap(),
            spans: TimelineSpans::of(&events),
            previous: None,
            files: vec![RunFile { path: "run.json".into(), bytes: 1 }],
            left_out: 0,
        };
        String::from_utf8(html.end(data).unwrap()).unwrap()
    }

    /// The content of the element that begins with `tag`.
    fn element<'a>(page: &'a str, tag: &str) -> &'a str {
        let rest = &page[page.find(tag).unwrap() + tag.len()..];
        &rest[..rest.find("</s").unwrap()]
    }

    fn log(page: &str) -> Vec<Value> {
        serde_json::from_str(element(page, "id=\"pumice-log\">")).unwrap()
    }

    #[test]
    fn hostile_text_stays_data() {
        let hostile = "</script><script>alert(1)</script><!-- \u{1b}[31m \u{202e}";
        let page = page(&[hostile], Bound::default());
        assert_eq!(log(&page)[0]["text"], hostile);
        assert_eq!(page.matches("<script").count(), 3);
        assert!(page.contains("<title>a &lt;run&gt; &amp; more · Pumice</title>"));
        let run: Value = serde_json::from_str(element(&page, "id=\"pumice-run\">")).unwrap();
        assert_eq!(run["summary"]["suites"][0]["cases"][1]["case"], "<a> & \"b\": ], 'c'\u{1b}[2J");
        assert_eq!((&run["state"], &run["left_out"]), (&"ended".into(), &0.into()));
        assert_eq!(run["spans"][0]["kind"], "test");
    }

    #[test]
    fn the_policy_names_the_script_and_the_style() {
        let page = page(&[], Bound::default());
        for tag in ["<script type=\"module\">", "<style>"] {
            let digest = digest(element(&page, tag));
            assert!(page.contains(&format!("-src '{digest}'")), "{tag}");
        }
        assert_eq!(log(&page), Vec::<Value>::new());
    }

    #[test]
    fn of_a_long_log_the_middle_is_left_out() {
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let page_of = |lines, bytes| page(&texts, Bound { lines, bytes });
        let shown = log(&page_of(10, 1 << 20));
        let numbers: Vec<u64> = shown.iter().map(|record| record["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 95, 96, 97, 98, 99]);
        assert_eq!(shown[5]["left_out"], 90);
        assert_eq!(shown[5]["host_time"], "2012-03-01T00:00:05.000000Z");
        assert!(page_of(10, 1 << 20).contains("\"left_out\":90}"));
        assert_eq!(log(&page_of(100, 1 << 20)).len(), 100);
        let few = log(&page_of(100, 4000));
        assert!(few.len() < 30 && few.iter().any(|record| record["left_out"].is_u64()));
    }
}
