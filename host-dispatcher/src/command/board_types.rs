//! `pumice board-types`: the board types that ship in the program.

use std::io::{self, Write};

use serde_json::json;

use crate::cli::BoardTypesAction;
use crate::config::board_type::BoardType;
use crate::config::yaml::did_you_mean;
use crate::job::verdict::ErrorClass;

/// Lists the shipped board types, or prints the file of one. Returns the exit status.
///
/// # Errors
/// `out` or `errors` cannot be written to.
pub fn board_types(
    action: Option<&BoardTypesAction>,
    json: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<u8> {
    let types = BoardType::shipped();
    match action {
        None if json => {
            for board_type in &types {
                let value = json!({"name": board_type.name, "description": board_type.description});
                writeln!(out, "{value}")?;
            }
        }
        None => {
            let width = types.iter().map(|board_type| board_type.name.len()).max().unwrap_or(0);
            for BoardType { name, description, .. } in &types {
                writeln!(out, "{name:<width$}  {description}")?;
            }
        }
        Some(BoardTypesAction::Show { name }) => match BoardType::shipped_text(name) {
            Some(text) if json => writeln!(out, "{}", json!({"name": name, "file": text}))?,
            Some(text) => out.write_all(text.as_bytes())?,
            None => {
                let mend =
                    did_you_mean(name, types.iter().map(|board_type| board_type.name.as_str()));
                writeln!(errors, "no board type \"{name}\" ships in this program: {mend}")?;
                return Ok(ErrorClass::ConfigurationError.exit_status());
            }
        },
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(action: Option<&str>, json: bool) -> (u8, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let action = action.map(|name| BoardTypesAction::Show { name: name.into() });
        let status = board_types(action.as_ref(), json, &mut out, &mut errors).unwrap();
        out.extend(errors);
        (status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn lists_and_shows() {
        let (status, list) = run(None, false);
        assert_eq!((status, list.lines().count()), (0, BoardType::shipped().len()));
        assert!(list.contains("\ngeneric            a line"), "{list}");
        let (_, text) = run(Some("qemu-virt-armv7"), false);
        assert!(BoardType::from_str("shown", &text).is_ok());
        let no = (2, "no board type \"qemu-virt-arm7\" ships in this program: did you mean \"qemu-virt-armv7\"?\n".into());
        assert_eq!(run(Some("qemu-virt-arm7"), false), no);
        let json = run(None, true).1;
        assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}
