//! The folder that a test's PATH begins with: a link to the agent under the name of every helper.

use super::each_name;
use crate::sys::directory::make_all;
use crate::sys::path as paths;
use crate::sys::program;

/// Makes the links in `<root>/.pumice/bin` anew, and returns the folder. What cannot be made is
/// missing in the tests, whose shell then says so.
pub(crate) fn make(root: &str) -> String {
    let folder = [root, "/.pumice/bin"].concat();
    let _ = make_all(&folder);
    // On a test bench the agent is started from where it was built.
    let program = if paths::exists([root, "/.pumice/agent"].concat()) {
        b"../agent".to_vec()
    } else {
        paths::read_link(program::OWN).unwrap_or_default()
    };
    each_name(|name| {
        let link = [&folder, "/", name].concat();
        let _ = paths::remove_file(&link);
        let _ = paths::link(&program, &link);
    });
    folder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::directory;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_helper_is_the_agent() {
        let root = directory("links");
        let text = root.to_str().unwrap();
        let folder = make(text);
        let target = |name: &str| fs::read_link(Path::new(&folder).join(name)).unwrap();
        assert_eq!(target("lava-test-case"), std::env::current_exe().unwrap());
        fs::write(root.join(".pumice/agent"), "").unwrap();
        assert_eq!(make(text), folder);
        let mut names = 0;
        each_name(|name| {
            assert_eq!(target(name), Path::new("../agent"));
            names += 1;
        });
        assert_eq!(fs::read_dir(&folder).unwrap().count(), names);
        fs::remove_dir_all(root).unwrap();
    }
}
