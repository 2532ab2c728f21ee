//! `pumice results`: what a run came to, for people and for other tools. Reads the run directory, changes nothing in it.

use std::io::{self, IsTerminal, Write};

use crate::cli::{Global, ResultsArgs, ResultsFormat};
use crate::report::results_form::{self, Form};
use crate::report::text::Color;
use crate::store::{self, find, reader};

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
    let form = match format {
        ResultsFormat::Text => {
            let is_shown = args.output.is_none() && io::stdout().is_terminal();
            Form::Text(if is_shown && super::wants_color() { Color::Ansi } else { Color::None })
        }
        ResultsFormat::Json => Form::Json,
        ResultsFormat::Junit => Form::Junit,
        ResultsFormat::Tap => Form::Tap,
        ResultsFormat::Csv => Form::Csv,
        ResultsFormat::Lava => Form::Lava,
        ResultsFormat::Kcidb => Form::Kcidb(args.origin.clone().unwrap_or_default()),
    };
    let bytes = results_form::bytes(form, &summary, &run)?;
    match &args.output {
        Some(file) => store::write_whole(file, &bytes).map_err(io::Error::other)?,
        None => out.write_all(&bytes)?,
    }
    Ok(0)
}
