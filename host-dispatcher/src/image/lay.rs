//! Lays files over a tree, as an archive that is unpacked in it would, and never leaves it.
//!
//! Links on the way to a file are followed inside of the tree (`/lib/modules` where `/lib` is a link to `usr/lib`). Folders
//! that are there stay as they are; a file in the place of another takes its name away, and not those that it has besides.

use std::collections::{BTreeMap, HashMap};

use super::error::Cause;
use super::tree::{FILES_MAX, Kind, Node, PATH_MAX, Tree, join, too_many};

/// Lays `over` over the tree, below the folder `at` (`a/b`; empty for the top).
///
/// # Errors
/// A file would lie where a folder is, links lead in a circle or too deep, or there are too many files.
pub(super) fn lay(tree: &mut Tree, over: Tree, at: &str) -> Result<(), Cause> {
    let mut laying = Laying::new(tree);
    let (others, firsts): (BTreeMap<_, _>, BTreeMap<_, _>) =
        over.into_iter().partition(|(_, node)| matches!(node.kind, Kind::Same(_)));
    let mut places = HashMap::new();
    for (path, node) in firsts {
        let place = laying.add(&join_below(at, &path), node)?;
        places.insert(path, place);
    }
    // Other names of a file come when it is there.
    for (path, mut node) in others {
        if let Kind::Same(first) = &node.kind {
            let first = match places.get(first) {
                Some(place) => place.clone(),
                None => laying.place_of(&join_below(at, first))?,
            };
            node.kind = Kind::Same(laying.first_of(first));
            laying.add(&join_below(at, &path), node)?;
        }
    }
    Ok(())
}

/// Where a path leads in a tree: without links. What is not there is where it would be made.
///
/// # Errors
/// Links lead in a circle or too deep.
pub(super) fn resolve(tree: &Tree, path: &str) -> Result<String, Cause> {
    let refused = |why: &str| {
        Cause::unusable(
            format!("links on the way to {path} {why}"),
            "mend the links, or name another place",
        )
    };
    let mut left: Vec<&str> = path.split('/').rev().collect();
    let (mut here, mut hops) = (String::new(), 0);
    while let Some(part) = left.pop() {
        match part {
            "" | "." => {}
            ".." => here.truncate(here.rfind('/').unwrap_or(0)),
            part => {
                let next = join(&here, part);
                if next.len() > PATH_MAX {
                    return Err(refused("lead too deep"));
                }
                if let Some(Node { kind: Kind::Link(target), .. }) = tree.get(&next) {
                    hops += 1;
                    if hops > LINKS_MAX || left.len() > PATH_MAX {
                        return Err(refused("lead in a circle"));
                    }
                    if target.starts_with('/') {
                        here.clear();
                    }
                    left.extend(target.split('/').rev());
                } else {
                    here = next;
                }
            }
        }
    }
    Ok(here)
}

/// Whether a folder is at a place; one that files stand in need not stand in the tree itself.
pub(super) fn has_folder(tree: &Tree, place: &str) -> bool {
    match tree.get(place) {
        Some(node) => node.kind == Kind::Folder,
        None => {
            let below = if place.is_empty() { String::new() } else { format!("{place}/") };
            let mut behind = tree.range(below.clone()..);
            behind.next().is_some_and(|(path, _)| path.starts_with(&below))
        }
    }
}

/// A tree, and what is laid over it file by file.
pub(super) struct Laying<'t> {
    tree: &'t mut Tree,
    /// The other names of files that have some.
    names: HashMap<String, Vec<String>>,
    /// The last folder that was looked for, and where it is: files of one come together.
    folder: Option<(String, String)>,
}

impl<'t> Laying<'t> {
    pub(super) fn new(tree: &'t mut Tree) -> Self {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for (path, node) in tree.iter() {
            if let Kind::Same(first) = &node.kind {
                names.entry(first.clone()).or_default().push(path.clone());
            }
        }
        Self { tree, names, folder: None }
    }

    /// Adds one; where it lies now.
    ///
    /// # Errors
    /// As for [`lay`].
    pub(super) fn add(&mut self, path: &str, node: Node) -> Result<String, Cause> {
        let place = self.place_of(path)?;
        let is_folder = node.kind == Kind::Folder;
        if is_folder {
            let behind = resolve(self.tree, &place)?;
            if has_folder(self.tree, &behind) {
                return Ok(behind);
            }
        } else if has_folder(self.tree, &place) {
            return Err(Cause::unusable(
                format!("its file {place} would lie where a folder is"),
                "name another place, or make the archive again",
            ));
        }
        self.take_away(&place);
        if self.tree.len() >= FILES_MAX {
            return Err(too_many());
        }
        if is_folder {
            // It may have been a link on the way to others.
            self.folder = None;
        }
        if let Kind::Same(first) = &node.kind {
            if *first == place {
                return Ok(place);
            }
            self.names.entry(first.clone()).or_default().push(place.clone());
        }
        self.tree.insert(place.clone(), node);
        Ok(place)
    }

    /// A file's content, where it is one.
    pub(super) fn file(&mut self, place: &str) -> Option<&mut Node> {
        self.tree.get_mut(place).filter(|node| matches!(node.kind, Kind::File { .. }))
    }

    /// Where a path leads; its last part is not followed.
    fn place_of(&mut self, path: &str) -> Result<String, Cause> {
        let Some((folder, name)) = path.rsplit_once('/') else { return Ok(path.to_owned()) };
        if let Some((known, place)) = &self.folder
            && known == folder
        {
            return Ok(join(place, name));
        }
        let place = resolve(self.tree, folder)?;
        let joined = join(&place, name);
        self.folder = Some((folder.to_owned(), place));
        Ok(joined)
    }

    /// The name that a file's other names are kept by.
    fn first_of(&self, path: String) -> String {
        match self.tree.get(&path).map(|node| &node.kind) {
            Some(Kind::Same(first)) => first.clone(),
            _ => path,
        }
    }

    /// Takes a name away. A file that has others is kept by the first of them.
    fn take_away(&mut self, place: &str) {
        let Some(node) = self.tree.remove(place) else { return };
        match &node.kind {
            Kind::Same(first) => {
                if let Some(names) = self.names.get_mut(first) {
                    names.retain(|name| name != place);
                }
            }
            Kind::File { .. } => {
                let mut names = self.names.remove(place).unwrap_or_default().into_iter();
                let Some(heir) = names.next() else { return };
                let names: Vec<String> = names.collect();
                for name in &names {
                    if let Some(other) = self.tree.get_mut(name) {
                        other.kind = Kind::Same(heir.clone());
                    }
                }
                self.names.insert(heir.clone(), names);
                self.tree.insert(heir, node);
            }
            // A link on the way to others may have been it.
            _ => self.folder = None,
        }
    }
}

fn join_below(at: &str, path: &str) -> String {
    if path.is_empty() { at.to_owned() } else { join(at, path) }
}

/// As many as Linux follows (`include/linux/namei.h`: `MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    /// `a/` is a folder, `a>b` a link, `a=b` another name, `a:x` a file whose content is called x.
    fn tree(entries: &[&str]) -> Tree {
        let node = |entry: &&str| {
            let text = entry.to_string();
            let (path, kind) = if let Some((path, target)) = text.split_once('>') {
                (path, Kind::Link(target.into()))
            } else if let Some((path, first)) = text.split_once('=') {
                (path, Kind::Same(first.into()))
            } else if let Some((path, content)) = text.split_once(':') {
                (path, Kind::File { content: content.into(), bytes: 1 })
            } else {
                (text.trim_end_matches('/'), Kind::Folder)
            };
            (path.to_owned(), Node::new(kind, 0o755))
        };
        entries.iter().map(node).collect()
    }

    fn laid(base: &[&str], over: &[&str], at: &str) -> Result<Vec<String>, String> {
        let mut whole = tree(base);
        lay(&mut whole, tree(over), at).map_err(|cause| {
            super::super::error::ImageError::new(std::path::Path::new("x"), cause).to_string()
        })?;
        let shown = |(path, node): (&String, &Node)| match &node.kind {
            Kind::Folder => format!("{path}/"),
            Kind::Link(target) => format!("{path}>{target}"),
            Kind::Same(first) => format!("{path}={first}"),
            Kind::File { content, .. } => format!("{path}:{}", content.display()),
            other => format!("{path} {other:?}"),
        };
        Ok(whole.iter().map(shown).collect())
    }

    #[test]
    fn files_come_where_links_lead() {
        for (base, over, at, expected) in [
            (&["lib/"][..], &["lib/", "lib/a:1"][..], "", &["lib/", "lib/a:1"][..]),
            // A merged /usr, with and without the folder's own entry, and an absolute link.
            (
                &["lib>usr/lib", "usr/lib/"],
                &["lib/", "lib/a:1"],
                "",
                &["lib>usr/lib", "usr/lib/", "usr/lib/a:1"],
            ),
            (&["lib>/usr/lib"], &["lib/a:1"], "", &["lib>/usr/lib", "usr/lib/a:1"]),
            // Nothing leads out.
            (&["lib>../../../etc"], &["lib/a:1"], "", &["etc/a:1", "lib>../../../etc"]),
            (&["x/y>.././z"], &["y/b:1"], "x", &["x/y>.././z", "z/b:1"]),
            // The last part is replaced, and not followed.
            (&["a>b", "b:1"], &["a:2"], "", &["a:2", "b:1"]),
            (&["a>b", "b:1"], &["a/"], "", &["a/", "b:1"]),
            (&["a:1"], &["a/", "a/b:2"], "", &["a/", "a/b:2"]),
            (&["opt/"], &["", "t:1"], "opt/new", &["opt/", "opt/new/", "opt/new/t:1"]),
        ] {
            assert_eq!(laid(base, over, at).unwrap(), expected, "{base:?} {over:?}");
        }
    }

    #[test]
    fn other_names_of_a_file_keep_what_they_had() {
        let base = &["bin/box:old", "bin/ls=bin/box", "bin/sh=bin/box"];
        let new = laid(base, &["bin/box:new"], "").unwrap();
        assert_eq!(new, ["bin/box:new", "bin/ls:old", "bin/sh=bin/ls"]);
        let shell = laid(base, &["bin/sh:new"], "").unwrap();
        assert_eq!(shell, ["bin/box:old", "bin/ls=bin/box", "bin/sh:new"]);
        // New names, of files of the archive and of the tree; "a" comes before its first.
        let more = laid(base, &["a=b", "b:1", "c=bin/sh"], "").unwrap();
        assert_eq!(more[..3], ["a=b", "b:1", "bin/box:old"]);
        assert_eq!(more.last().unwrap(), "c=bin/box");
        let below = laid(&["lib>usr/lib"], &["lib/x:1", "lib/y=lib/x"], "").unwrap();
        assert_eq!(below, ["lib>usr/lib", "usr/lib/x:1", "usr/lib/y=usr/lib/x"]);
        let itself = laid(&["lib>usr", "usr/x:1"], &["lib/x=usr/x"], "").unwrap();
        assert!(!itself.iter().any(|entry| entry == "usr/x=usr/x"), "{itself:?}");
    }

    #[test]
    fn what_has_no_place_is_an_error() {
        for (base, over, expected) in [
            (&["a/"][..], &["a:1"][..], "its file a would lie where a folder is"),
            (&["a/b:1"], &["a>c"], "its file a would lie where a folder is"),
            (&["a>b", "b>a"], &["a/x:1"], "links on the way to a lead in a circle"),
            (&["a>a/a"], &["a/x:1"], "links on the way to a lead in a circle"),
        ] {
            let error = laid(base, over, "").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let deep = format!("a>{}", "b/".repeat(600));
        let error = laid(&[&deep], &["a/x:1"], "").unwrap_err();
        assert!(error.contains("lead too deep"), "{error}");
    }
}
