//! `pumice board-types`: the board types that ship in the program, and those of a lab.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::BoardTypesAction;
use crate::config::board_type::BoardType;
use crate::config::lab::Lab;
use crate::config::yaml::{self, FileError, did_you_mean};
use crate::job::verdict::ErrorClass;

/// Lists the shipped board types, with a lab also those of its own folder, or prints the file of one. Returns the exit status.
///
/// # Errors
/// `out` or `errors` cannot be written to.
pub fn board_types(
    action: Option<&BoardTypesAction>,
    lab: Option<&Path>,
    json: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<u8> {
    let own = match lab.map(Lab::own_types).transpose() {
        Ok(own) => own.unwrap_or_default(),
        Err(error) => {
            writeln!(errors, "{error}")?;
            return Ok(ErrorClass::ConfigurationError.exit_status());
        }
    };
    // One of the lab's wins over one that ships under the same name, and the last of its files over the others.
    let mut types: BTreeMap<String, (Option<PathBuf>, BoardType)> = BTreeMap::new();
    let shipped = BoardType::shipped().into_iter().map(|board_type| (None, board_type));
    for (file, board_type) in shipped.chain(own.into_iter().map(|(file, own)| (Some(file), own))) {
        types.insert(board_type.name.clone(), (file, board_type));
    }
    match action {
        None if json => {
            for (name, (file, board_type)) in &types {
                let value =
                    json!({"name": name, "description": board_type.description, "path": file});
                writeln!(out, "{value}")?;
            }
        }
        None => {
            let width = types.keys().map(String::len).max().unwrap_or(0);
            for (name, (file, BoardType { description, .. })) in &types {
                write!(out, "{name:<width$}  {description}")?;
                match file {
                    Some(file) => writeln!(out, " ({})", file.display())?,
                    None => writeln!(out)?,
                }
            }
        }
        Some(BoardTypesAction::Show { name }) => {
            let text = match types.get(name) {
                Some((Some(file), _)) => yaml::read(file),
                Some((None, _)) => Ok(BoardType::shipped_text(name).unwrap_or("").to_owned()),
                None => {
                    let mend = did_you_mean(name, types.keys().map(String::as_str));
                    Err(FileError::whole("board-types", format!("no board type \"{name}\""))
                        .mend(mend))
                }
            };
            match text {
                Ok(text) if json => writeln!(out, "{}", json!({"name": name, "file": text}))?,
                Ok(text) => out.write_all(text.as_bytes())?,
                Err(error) => {
                    writeln!(errors, "{error}")?;
                    return Ok(ErrorClass::ConfigurationError.exit_status());
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(action: Option<&str>, json: bool) -> (u8, String) {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let action = action.map(|name| BoardTypesAction::Show { name: name.into() });
        let status = board_types(action.as_ref(), None, json, &mut out, &mut errors).unwrap();
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
        let no = (
            2,
            "board-types: no board type \"qemu-virt-arm7\": did you mean \"qemu-virt-armv7\"?\n"
                .into(),
        );
        assert_eq!(run(Some("qemu-virt-arm7"), false), no);
        let json = run(None, true).1;
        assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    #[test]
    fn a_lab_s_own_types_win() {
        let folder = std::env::temp_dir().join(format!("pumice-types-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("types")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("types/mine.yaml", "# mine\nname: panda\ndescription: ours\nline: {}\n");
        write(
            "lab.yaml",
            "board_types: types\nboards: [{name: a, type: panda, connection: unix:x}]\n",
        );
        let run = |action: Option<BoardTypesAction>| {
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            let lab = folder.join("lab.yaml");
            let status =
                board_types(action.as_ref(), Some(&lab), false, &mut out, &mut errors).unwrap();
            out.extend(errors);
            (status, String::from_utf8(out).unwrap())
        };
        let list = run(None).1;
        let shown = run(Some(BoardTypesAction::Show { name: "panda".into() }));
        write("types/mine.yaml", "name: panda\nlnie: {}\n");
        let wrong = run(None);
        std::fs::remove_dir_all(&folder).unwrap();
        let line = list.lines().find(|line| line.starts_with("panda")).unwrap();
        assert!(line.contains("  ours (") && line.ends_with("types/mine.yaml)"), "{line}");
        assert!(list.contains("generic"), "{list}");
        assert_eq!(shown, (0, "# mine\nname: panda\ndescription: ours\nline: {}\n".into()));
        assert!(wrong.0 == 2 && wrong.1.contains("mine.yaml:2: unknown key \"lnie\""), "{wrong:?}");
    }
}
