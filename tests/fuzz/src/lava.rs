//! Jobs and devices of LAVA: any text is imported, or is one line that says what is wrong; what is said of its keys stands on
//! lines of bounded length; and what comes of it is read as the same text, and holds nothing that a file of ours may not.

use host_dispatcher::config::yaml;
use host_dispatcher::lava::import::Imported;
use host_dispatcher::lava::{device, import};

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(&input[..input.len().min(TEXT_BYTES_MAX)]);
    let is_job = import::is_lava_job(&text);
    if let Ok(imported) = import::import("job.yaml", &text) {
        check(&imported);
    }
    if device::is_device(&text) {
        assert!(!is_job, "a job and a device at once");
        if let Ok(imported) = device::import("device.yaml", &text, "board") {
            check(&imported);
        }
    }
}

fn check(imported: &Imported) {
    for line in imported.report.to_string().lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() <= LINE_BYTES_MAX, "{} bytes: {line}", line.len());
    }
    assert!(imported.report.is_clean() == imported.report.obstacles().is_empty());
    for job in &imported.jobs {
        // What is too large for a file of ours is refused when it is read.
        if job.text.len() > FILE_BYTES_MAX {
            continue;
        }
        let value = match yaml::from_str::<serde_json::Value>("job.yaml", &job.text, &[]) {
            Ok(value) => value,
            Err(error) if error.message.contains("larger or deeper") => continue,
            Err(error) => panic!("{error}\n{}", job.text),
        };
        if let Some(tests) = value["tests"].as_array() {
            assert!((1..=128).contains(&tests.len()));
        }
    }
}

/// The reader refuses more than 1 MiB; aliases make much of little.
const TEXT_BYTES_MAX: usize = 64 << 10;
const FILE_BYTES_MAX: usize = 1 << 20;
/// A way to a key is at most 32 deep.
const LINE_BYTES_MAX: usize = 32 * 260 + 1500;
