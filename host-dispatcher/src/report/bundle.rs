//! Makes one script of the page's modules, for a page that is one file.
//!
//! The modules obey a rule that makes this a matter of lines: an import is one line `import { a, b } from "./x.js";`, only
//! `function`, `async function`, `class` and `const` are exported, each where it is declared, nothing under another name,
//! and a name at the top of a module stands at the top of no other one of the same page. So the modules behind each
//! other, what is imported first, without these words, are the same program. Tests see to the rule.

use super::page;

/// The modules that `entry` imports, and those that these import, and itself, as one module without imports.
pub fn bundle(entry: &str) -> String {
    let mut order = Vec::new();
    visit(entry, &mut order);
    let mut script = String::new();
    for name in order {
        let text = page::asset(name).map_or("", page::Asset::text);
        for line in text.lines().filter(|line| import(line).is_none()) {
            script.push_str(line.strip_prefix("export ").unwrap_or(line));
            script.push('\n');
        }
    }
    script
}

/// Adds a module behind those that it imports.
fn visit(name: &str, order: &mut Vec<&'static str>) {
    let Some(asset) = page::asset(name) else { return };
    if order.contains(&asset.name) {
        return;
    }
    asset.text().lines().filter_map(import).for_each(|(_, from)| visit(from, order));
    order.push(asset.name);
}

/// The names that a line imports, and the module.
fn import(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("import { ")?;
    let (names, module) = rest.split_once(" } from \"./")?;
    Some((names, module.strip_suffix("\";")?))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::page::ASSETS;
    use super::*;

    /// The name that a line at the top of a module declares.
    fn declared(line: &str) -> Option<&str> {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let rest = ["async function ", "function ", "class ", "const ", "let "]
            .iter()
            .find_map(|word| line.strip_prefix(word))?;
        rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).next()
    }

    #[test]
    fn modules_obey_the_rule() {
        let modules = ASSETS.iter().filter(|asset| asset.name.ends_with(".js"));
        let mut exported = BTreeMap::new();
        for module in modules.clone() {
            for line in module.text().lines() {
                let place = format!("{}: {line}", module.name);
                if line.trim_start().starts_with("import") {
                    assert!(import(line).is_some() && !line.contains(" as "), "{place}");
                }
                if line.starts_with("export") {
                    let name = declared(line).filter(|name| !name.is_empty());
                    exported.insert((module.name, name.expect(&place)), ());
                }
                assert!(!line.contains("import(") && !line.contains("import.meta"), "{place}");
            }
        }
        for module in modules {
            let mut seen = Vec::new();
            for (names, from) in module.text().lines().filter_map(import) {
                assert!(!seen.contains(&from), "{} imports {from} twice", module.name);
                seen.push(from);
                for name in names.split(", ") {
                    assert!(exported.contains_key(&(from, name)), "{}: {name}", module.name);
                }
            }
        }
    }

    #[test]
    fn imports_go_in_one_direction() {
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            let mut order = Vec::new();
            visit(asset.name, &mut order);
            for (index, name) in order.iter().enumerate() {
                let text = page::asset(name).unwrap().text();
                for (_, from) in text.lines().filter_map(import) {
                    assert!(order[..index].contains(&from), "{name} and {from} import each other");
                }
            }
        }
    }

    #[test]
    fn a_bundle_is_one_script_with_each_name_once() {
        let script = bundle("report_main.js");
        assert!(
            !script.lines().any(|line| line.starts_with("import") || line.starts_with("export"))
        );
        assert!(!script.contains("EventSource") && !script.contains("fetch("), "no network");
        let lower = script.to_lowercase();
        assert!(!lower.contains("</script") && !lower.contains("<!--"));
        let mut names = BTreeSet::new();
        for name in script.lines().filter_map(declared) {
            assert!(names.insert(name), "{name} is declared twice");
        }
        assert!(names.contains("RunPage") && names.contains("EmbeddedRun"));
    }
}
