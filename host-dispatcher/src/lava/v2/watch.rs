//! `monitors` and `interactive`: tests without a test definition.

use super::super::output::Map;
use super::super::report::Report;
use super::super::tree::Field;

/// What a monitor looks for on the console, with its name.
pub(super) fn monitor(
    field: Field,
    _period: Option<&str>,
    report: &mut Report,
) -> Option<(String, Map)> {
    report.unsupported(&field, "patterns on the console are no results here: report them with lava-test-case, or print TAP");
    None
}

/// Commands and what they print, with the name.
pub(super) fn interactive(
    field: Field,
    _period: Option<&str>,
    report: &mut Report,
) -> Option<(String, Map)> {
    report
        .unsupported(&field, "nothing is typed: write the commands as steps of a test definition");
    None
}
