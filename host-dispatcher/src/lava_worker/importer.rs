//! The importer of LAVA's jobs, as this worker needs it.

use serde_json::{Value, json};

use crate::config::yaml::{self, FileError};

/// A job of ours.
pub(super) struct Imported {
    /// Its file.
    pub(super) text: String,
    /// What of LAVA's is not done, for people.
    pub(super) notes: Vec<String>,
}

/// Imports the one job of a file.
///
/// # Errors
/// What of it cannot be done.
pub(super) fn import(file: &str, text: &str) -> Result<Imported, FileError> {
    let job: Value = yaml::from_str(file, text, &[])?;
    let fail = |what: &str| FileError::whole(file, what.to_owned());
    let (mut tests, mut deploy) = (Vec::new(), serde_json::Map::new());
    for action in job["actions"].as_array().ok_or_else(|| fail("\"actions\" is missing"))? {
        if let Some(to) = action.get("deploy") {
            let image = to.get("image").or_else(|| to.get("nfsrootfs"));
            let url = image.and_then(|image| image["url"].as_str());
            let url = url.ok_or_else(|| fail("\"deploy\" without an image is not supported"))?;
            deploy.insert("rootfs".into(), url.strip_prefix("file://").unwrap_or(url).into());
        } else if let Some(test) = action.get("test") {
            for definition in test["definitions"].as_array().into_iter().flatten() {
                if definition["from"] != "inline" {
                    return Err(fail("only inline definitions are supported"));
                }
                let steps = definition["repository"]["run"]["steps"].as_array();
                let steps: Vec<&str> =
                    steps.into_iter().flatten().filter_map(Value::as_str).collect();
                tests.push(json!({"name": definition["name"], "run": steps.join("\n")}));
            }
        }
    }
    let minutes = job["timeouts"]["job"]["minutes"].as_u64().unwrap_or(60);
    let mut ours = json!({
        "name": job["job_name"], "tests": tests, "timeout": format!("{minutes}m"), "boot_with": "master",
    });
    if !deploy.is_empty() {
        ours["deploy"] = deploy.into();
    }
    Ok(Imported { text: ours.to_string(), notes: Vec::new() })
}
