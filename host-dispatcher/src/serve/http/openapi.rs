//! The description of the interface for programs: OpenAPI 3.1.
//!
//! Paths come from the table of routes, so that they cannot differ from it; the schemas are `openapi_schemas.json`, and a
//! test holds them against what is really answered.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::routes::{self, Route};

pub(super) async fn answer() -> Response {
    let media_type = [(header::CONTENT_TYPE, "application/json")];
    (media_type, Json(description())).into_response()
}

/// The whole description.
pub(super) fn description() -> Value {
    let mut paths = Map::new();
    for route in routes::routes() {
        let path = route.path.replace("{*", "{");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(route.method.into(), operation(&route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pumice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The lab: boards, jobs, runs. docs/http.md says it in words. Names are only ever added.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::access::COOKIE_NAME },
            },
        },
    })
}

/// The schemas by name.
pub(super) fn schemas() -> Value {
    // The text is part of this program, and a test reads it.
    serde_json::from_str(SCHEMAS).unwrap_or_default()
}

fn operation(route: &Route) -> Value {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = route.query.iter().map(|(name, text)| {
        json!({ "name": name, "in": "query", "description": text, "schema": { "type": "string" } })
    });
    let mut operation = json!({
        "summary": route.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<Value>>(),
        "responses": {
            route.status.to_string(): { "description": route.summary, "content": content(route.answer) },
            "default": { "description": "It was not done", "content": content("Error") },
        },
    });
    if let Value::Object(operation) = &mut operation {
        if let Some(body) = route.body {
            operation.insert(
                "requestBody".into(),
                json!({ "required": true, "content": content(body) }),
            );
        }
        let security = match route.role {
            Some(role) => json!([{ "token": [] }, { "session": [] }, {}]).as_array().map(|all| {
                operation.insert("x-role".into(), json!(role));
                Value::from(all.clone())
            }),
            None => Some(json!([])),
        };
        operation.insert("security".into(), security.unwrap_or_default());
    }
    operation
}

/// A schema's name, or a media type.
fn content(what: &str) -> Value {
    if what.contains('/') {
        json!({ what: {} })
    } else {
        json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{what}") } } })
    }
}

const SCHEMAS: &str = include_str!("openapi_schemas.json");
