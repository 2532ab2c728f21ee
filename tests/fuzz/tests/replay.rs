//! Every input that was ever found, and every seed, through its target.

use std::path::Path;

#[test]
fn inputs_that_failed_once_fail_no_more() {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    // Git keeps no empty folder: without any there is none.
    let Ok(entries) = std::fs::read_dir(&regressions) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let Some(target) = path.file_name().and_then(|name| fuzz::target(name.to_str()?)) else {
            assert!(!path.is_dir(), "{} names no target", path.display());
            continue;
        };
        for file in std::fs::read_dir(&path).unwrap() {
            let file = file.unwrap().path();
            println!("again: cargo run -p fuzz -- run {} {}", target.name, file.display());
            (target.run)(&std::fs::read(&file).unwrap());
        }
    }
}

#[test]
fn seeds_break_nothing() {
    for target in fuzz::TARGETS {
        let seeds = fuzz::seeds::of(target.name);
        assert!(!seeds.is_empty(), "{}", target.name);
        for (index, seed) in seeds.iter().enumerate() {
            println!("{} seed {index}", target.name);
            (target.run)(seed);
        }
    }
}
