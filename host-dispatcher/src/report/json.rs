//! One JSON object a line, for programs: every event as in `events.ndjson`, progress too; the last line is the summary.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::Reporter;
use super::summary::Summary;
use crate::job::event::Stamped;

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    /// Of one of several runs that write to one place: `node` of each object.
    node: Option<String>,
}

#[derive(Serialize)]
struct LastLine<'a> {
    event: &'static str,
    directory: &'a Path,
    #[serde(flatten)]
    summary: &'a Summary,
}

#[derive(Serialize)]
struct OfNode<'a, T> {
    node: &'a str,
    #[serde(flatten)]
    value: &'a T,
}

impl<W: Write> Json<W> {
    /// A reporter that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, node: None }
    }

    /// The same, of one of several runs that write to one place: each object has `label` as its `node`.
    pub fn labeled(label: &str, out: W) -> Self {
        Self { out, node: Some(label.to_owned()) }
    }

    fn write(&mut self, value: &impl Serialize) {
        let line = match &self.node {
            Some(node) => serde_json::to_vec(&OfNode { node, value }),
            None => serde_json::to_vec(value),
        };
        if let Ok(mut line) = line {
            line.push(b'\n');
            let _ = self.out.write_all(&line).and_then(|()| self.out.flush());
        }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, stamped: &Stamped) {
        self.write(stamped);
    }

    fn finish(&mut self, summary: &Summary, directory: &Path) {
        self.write(&LastLine { event: "summary", directory, summary });
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::panicked_run;
    use super::*;

    #[test]
    fn every_line_is_an_object_and_the_last_the_summary() {
        let events = panicked_run();
        let mut out = Vec::new();
        let mut reporter = Json::new(&mut out);
        events.iter().for_each(|event| reporter.event(event));
        reporter.finish(&Summary::of(&events), Path::new("runs/x"));
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), events.len() + 1);
        assert_eq!(lines[0]["event"], "run_started");
        let last = &lines[events.len()];
        assert_eq!(
            (&last["event"], &last["verdict"], &last["directory"]),
            (&"summary".into(), &"TestError".into(), &"runs/x".into())
        );
    }
}
