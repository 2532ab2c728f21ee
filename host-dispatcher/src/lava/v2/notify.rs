//! `notify`: who is told.

use super::super::output::{Map, Yaml};
use super::super::report::Report;
use super::super::tree::{Field, Keys};

/// Reads it into the job.
pub(super) fn read(keys: &mut Keys, job: &mut Map, report: &mut Report) {
    let Some(field) = keys.take("notify") else { return };
    let mut keys = field.keys(report);
    let mut callbacks = Vec::new();
    let mut criteria = None;
    if let Some(field) = keys.take("criteria") {
        let mut keys = field.clone().keys(report);
        if let Some(field) = keys.take("status") {
            criteria = field.text(report).map(|status| (field, status));
        }
        for key in ["type", "dependency_query"] {
            if let Some(field) = keys.take(key) {
                report.ignored(&field, "every end of a job is told: the receiver may compare");
            }
        }
        keys.end(report);
    }
    if let Some((field, status)) = criteria {
        match status.as_str() {
            "finished" | "all" => report.mapped(&field, "notify.callbacks: sent at the end"),
            "complete" | "incomplete" | "canceled" => {
                report.ignored(&field, "a callback is sent at every end, and says which it was")
            }
            "running" => report.ignored(&field, "a callback is sent at the end"),
            _ => report.mistake(
                &field,
                "one of all, finished, running, complete, canceled, incomplete is expected here",
            ),
        }
    }
    for field in keys.take("callbacks").map(|field| field.list(report)).unwrap_or_default() {
        callbacks.extend(callback(field, report));
    }
    if let Some(field) = keys.take("callback") {
        callbacks.extend(callback(field, report));
    }
    for key in ["recipients", "verbosity", "compare"] {
        if let Some(field) = keys.take(key) {
            report.ignored(
                &field,
                "nobody is written to: what a callback reaches, or a client of the HTTP interface, may do so",
            );
        }
    }
    keys.end(report);
    if !callbacks.is_empty() {
        let mut notify = Map::default();
        notify.set("callbacks", callbacks);
        job.set("notify", notify);
    }
}

fn callback(field: Field, report: &mut Report) -> Option<Yaml> {
    let mut keys = field.keys(report);
    let at = keys.at;
    let mut callback = Map::default();
    let Some(url) = keys.take("url") else {
        report.missing(at, &keys.path_of("url"), "url: https://…");
        return None;
    };
    report.mapped(&url, "notify.callbacks");
    callback.set("url", url.text(report)?);
    for (key, ours) in [
        ("method", "method"),
        ("token", "token"),
        ("header", "header"),
        ("dataset", "dataset"),
        ("content-type", "content_type"),
    ] {
        if let Some(field) = keys.take(key)
            && let Some(text) = field.text(report)
        {
            report.mapped(&field, format!("notify.callbacks.{ours}"));
            callback.set(ours, text);
        }
    }
    keys.end(report);
    Some(callback.into())
}
