//! Built by `ci/fuzz`: libFuzzer over the target that `PUMICE_FUZZ_TARGET` names. Built by plain cargo: runs inputs
//! again, and writes the seeds.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    use std::sync::OnceLock;
    static TARGET: OnceLock<&fuzz::Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("PUMICE_FUZZ_TARGET").unwrap_or_default();
        fuzz::target(&name).expect("PUMICE_FUZZ_TARGET names no target")
    });
    (target.run)(input);
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("fuzz: {problem}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(fuzzing))]
fn run(words: &[&str]) -> Result<(), String> {
    let target = |name| fuzz::target(name).ok_or_else(|| format!("there is no target '{name}'"));
    match words {
        ["list"] => fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["seeds", name, directory] => {
            let seeds = fuzz::seeds::of(target(name)?.name);
            for (index, seed) in seeds.iter().enumerate() {
                let path = format!("{directory}/seed-{index:03}");
                std::fs::write(&path, seed)
                    .map_err(|error| format!("failed to write {path}: {error}"))?;
            }
        }
        ["run", name, files @ ..] => {
            let target = target(name)?;
            for file in files {
                let input = std::fs::read(file)
                    .map_err(|error| format!("failed to read {file}: {error}"))?;
                println!("{file}: {} bytes", input.len());
                (target.run)(&input);
            }
        }
        _ => {
            return Err("usage: fuzz list | fuzz seeds TARGET DIRECTORY | fuzz run TARGET FILE..."
                .to_owned());
        }
    }
    Ok(())
}
