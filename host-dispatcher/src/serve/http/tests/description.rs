//! `openapi.json` against the router and against what is really answered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::testbed::Bed;
use crate::serve::http::openapi::description;
use crate::serve::http::routes;

/// What is wrong with a value, by a schema of the kind that the description has.
fn check(schemas: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        let known = schemas.get(name).ok_or_else(|| format!("no schema {name}"))?;
        return check(schemas, known, value, at);
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        let one = forms.iter().any(|form| check(schemas, form, value, at).is_ok());
        return if one { Ok(()) } else { Err(format!("{at}: {value} is none of {forms:?}")) };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is_kind = |kind: &str| match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    if !kinds.iter().any(|kind| is_kind(kind)) {
        return Err(format!("{at}: {value} is no {kinds:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !value.is_null()
        && !words.contains(value)
    {
        return Err(format!("{at}: {value} is none of {words:?}"));
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for value in values {
            check(schemas, items, value, &format!("{at}[]"))?;
        }
    }
    if let (Some(known), Some(values)) = (schema["properties"].as_object(), value.as_object()) {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !values.contains_key(name.as_str().unwrap()) {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, value) in values {
            let schema = known.get(name).ok_or_else(|| format!("{at}: {name} is not described"))?;
            check(schemas, schema, value, &format!("{at}.{name}"))?;
        }
    }
    Ok(())
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("$ref") {
                found.insert(name.rsplit('/').next().unwrap().to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let bed = Bed::new();
    let served = bed.json("/api/v1/openapi.json");
    assert_eq!(served, description());
    let mut described = BTreeSet::new();
    for (path, methods) in served["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert((path.clone(), method.clone()));
            // Really there: what is not is answered by nobody, or by another method.
            // A stream does not end; it has tests of its own.
            if path == "/api/v1/events" {
                continue;
            }
            let place = path.replace("{id}", "1").replace(['{', '}'], "x");
            let answer = bed.ask(format!(
                "{} {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                method.to_uppercase()
            ));
            let is_nowhere =
                answer.status == 405 || answer.text().contains("there is nothing here");
            assert!(!is_nowhere, "{method} {path}: {}", answer.text());
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
    let routes: BTreeSet<(String, String)> = routes::routes()
        .iter()
        .map(|route| (route.path.replace("{*", "{"), route.method.to_owned()))
        .collect();
    assert_eq!(described, routes);
    let mut used = BTreeSet::new();
    references(&served, &mut used);
    let known: BTreeSet<String> =
        served["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, known, "every schema is used, and every one that is used is there");
}

#[test]
fn answers_are_as_they_are_described() {
    let bed = Bed::new();
    let (_, run) = (bed.run(1), bed.run(2));
    bed.feed.tell(crate::serve::feed::Change::Job(super::testbed::job(4, "anna")));
    let description = description();
    let schemas = &description["components"]["schemas"];
    let mut checked = BTreeSet::new();
    let mut hold = |template: &str, method: &str, answer: super::testbed::Answer| {
        let operation = &description["paths"][template][method];
        let status = answer.status.to_string();
        let told = operation["responses"].get(&status);
        let told = told.unwrap_or_else(|| &operation["responses"]["default"]);
        let schema = &told["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {template}: {status} is not described");
        check(schemas, schema, &answer.json(), "")
            .unwrap_or_else(|why| panic!("{method} {template}: {why}"));
        checked.insert((template.to_owned(), method.to_owned()));
    };
    for (template, path) in [
        ("/api/v1/me", "/api/v1/me".to_owned()),
        ("/api/v1/lab", "/api/v1/lab".into()),
        ("/api/v1/boards", "/api/v1/boards".into()),
        ("/api/v1/boards/{board}", "/api/v1/boards/bbb-01".into()),
        ("/api/v1/boards/{board}", "/api/v1/boards/none".into()),
        ("/api/v1/boards/{board}/wiring", "/api/v1/boards/bbb-01/wiring".into()),
        ("/api/v1/jobs", "/api/v1/jobs".into()),
        ("/api/v1/jobs/{id}", "/api/v1/jobs/4".into()),
        ("/api/v1/runs", "/api/v1/runs".into()),
        ("/api/v1/runs/{run}", format!("/api/v1/runs/{run}")),
        ("/api/v1/runs/{run}/log", format!("/api/v1/runs/{run}/log")),
        ("/api/v1/runs/{run}/files", format!("/api/v1/runs/{run}/files")),
    ] {
        hold(template, "get", bed.get(&path));
    }
    let definition = "name: x\ntests: [{name: a, run: \"true\"}]\n";
    for (template, path, body) in [
        (
            "/api/v1/boards/{board}/acquire",
            "/api/v1/boards/bbb-01/acquire",
            json!({ "minutes": 5 }),
        ),
        ("/api/v1/boards/{board}/release", "/api/v1/boards/bbb-01/release", json!({})),
        (
            "/api/v1/boards/{board}/health",
            "/api/v1/boards/bbb-01/health",
            json!({ "health": "good" }),
        ),
        (
            "/api/v1/boards/{board}/power",
            "/api/v1/boards/bbb-01/power",
            json!({ "operation": "on" }),
        ),
        (
            "/api/v1/boards/{board}/line/power",
            "/api/v1/boards/bbb-01/line/power",
            json!({ "operation": "off" }),
        ),
        ("/api/v1/jobs", "/api/v1/jobs", json!({ "definition": definition })),
        ("/api/v1/jobs", "/api/v1/jobs", json!({ "definition": "x: y" })),
        ("/api/v1/jobs/{id}/cancel", "/api/v1/jobs/4/cancel", json!({})),
        ("/api/v1/reload", "/api/v1/reload", json!({})),
        ("/api/v1/logout", "/api/v1/logout", json!({})),
        ("/api/v1/login", "/api/v1/login", json!({ "token": "x" })),
    ] {
        hold(template, "post", bed.post(path, &body.to_string()));
    }
    assert_eq!(checked.len(), 21);
}
