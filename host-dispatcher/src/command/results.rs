//! `pumice results`: what a run came to, for people and for other tools. Reads the run directory, changes nothing in it.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::cli::{Global, ResultsArgs, ResultsFormat};
use crate::report::summary::Summary;
use crate::report::text::{self, Cases, Color};
use crate::report::{junit, lava, tap13};
use crate::store::{self, find, reader, results as run_results};

/// Writes the results of a run to `out`, or to the file that is asked for. The exit status is 0 when they could be read.
///
/// # Errors
/// The run is not found, cannot be read, or `out` cannot be written to.
pub fn results(global: &Global, args: &ResultsArgs, out: &mut impl Write) -> io::Result<u8> {
    let run = find::run_directory(&args.out, &args.run).map_err(io::Error::other)?;
    let summary = reader::summary(&run).map_err(io::Error::other)?;
    let format = match args.format {
        ResultsFormat::Text if global.json => ResultsFormat::Json,
        format => format,
    };
    let bytes = match format {
        ResultsFormat::Text => {
            let is_shown = args.output.is_none() && io::stdout().is_terminal();
            let color = if is_shown && super::wants_color() { Color::Ansi } else { Color::None };
            text::results(&summary, &run, color, Cases::All).into_bytes()
        }
        ResultsFormat::Json => json(&summary)?,
        ResultsFormat::Junit => {
            let mut output =
                |suite: &str, source, range| run_results::output(&run, suite, source, range);
            junit::xml(&summary, &mut output).map_err(io::Error::other)?.into_bytes()
        }
        ResultsFormat::Tap => tap13::text(&summary).into_bytes(),
        ResultsFormat::Csv => lava::csv(&summary).map_err(io::Error::other)?,
        ResultsFormat::Lava => lava::results_yaml(&summary).into_bytes(),
    };
    match &args.output {
        Some(file) => store::write_whole(file, &bytes).map_err(io::Error::other)?,
        None => out.write_all(&bytes)?,
    }
    Ok(0)
}

/// The summary with the cases of its suites.
fn json(summary: &Summary) -> io::Result<Vec<u8>> {
    let mut value = serde_json::to_value(summary)?;
    let suites: Result<Vec<Value>, _> =
        summary.suites.iter().map(|suite| serde_json::to_value(suite.whole())).collect();
    if let Value::Object(map) = &mut value {
        map.insert("suites".into(), suites?.into());
    }
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::summary::tests::run_with_cases;

    #[test]
    fn json_has_the_cases() {
        let bytes = json(&Summary::of(&run_with_cases())).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["suites"][0]["cases"][0]["measurement"], 41.5);
        assert_eq!(value["suites"][0]["cases"][3]["result"], "unknown");
        assert_eq!(value["verdict"], "Timeout");
    }
}
