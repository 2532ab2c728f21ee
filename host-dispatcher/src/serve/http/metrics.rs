//! What Prometheus collects.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::state::{self, Shared};

pub(super) async fn metrics(State(shared): state::State) -> Response {
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], text(&shared)).into_response()
}

fn text(shared: &Shared) -> String {
    let (lab, boards) = (shared.feed.lab(), shared.feed.boards());
    let mut out = Out::default();
    out.head("pumice_info", "gauge", "The dispatcher.");
    out.value("pumice_info", &[("version", &lab.version)], 1.0);
    if let Some(started) = lab.started {
        out.head("pumice_start_time_seconds", "gauge", "When the dispatcher began.");
        out.value("pumice_start_time_seconds", &[], started.as_microsecond() as f64 / 1e6);
    }
    out.head("pumice_paused", "gauge", "Whether no job is begun.");
    out.value("pumice_paused", &[], f64::from(u8::from(!lab.paused.is_empty())));

    let mut kinds: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for board in &boards {
        *kinds.entry((board.state.as_str(), board.health.as_str())).or_default() += 1;
    }
    out.head("pumice_boards", "gauge", "Boards by what they are used for and by their health.");
    for ((state, health), count) in kinds {
        out.value("pumice_boards", &[("state", state), ("health", health)], f64::from(count));
    }
    let name = "pumice_board_received_bytes_total";
    out.head(name, "counter", "Bytes that came on a board's line.");
    for board in &boards {
        let labels = [("board", board.name.as_str()), ("type", board.board_type.as_str())];
        out.value(name, &labels, board.received_bytes as f64);
    }
    let name = "pumice_board_line_good";
    out.head(name, "gauge", "Whether nothing is wrong with a board's line.");
    for board in &boards {
        let labels = [("board", board.name.as_str()), ("type", board.board_type.as_str())];
        out.value(name, &labels, f64::from(u8::from(board.line == "good")));
    }
    out.head("pumice_jobs", "gauge", "Jobs that have not ended.");
    out.value("pumice_jobs", &[("state", "queued")], lab.queued as f64);
    out.value("pumice_jobs", &[("state", "running")], lab.running as f64);

    out.head("pumice_http_connections", "gauge", "Connections that are open.");
    out.value("pumice_http_connections", &[], shared.connections.count() as f64);
    let streams = shared.limits().streams.saturating_sub(shared.streams.available_permits());
    out.head("pumice_http_streams", "gauge", "Streams of events that are open.");
    out.value("pumice_http_streams", &[], streams as f64);
    out.head("pumice_http_answers_total", "counter", "Answers by the first digit of their status.");
    for (class, count) in (1..).zip(&shared.answers) {
        let labels = [("status", format!("{class}xx"))];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        out.value("pumice_http_answers_total", &labels, count.load(Ordering::Relaxed) as f64);
    }
    if let Some(bytes) = resident_bytes() {
        out.head("process_resident_memory_bytes", "gauge", "Memory of the dispatcher.");
        out.value("process_resident_memory_bytes", &[], bytes as f64);
    }
    out.0
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped =
            |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let braces =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
