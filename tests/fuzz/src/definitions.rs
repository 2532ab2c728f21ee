//! Test definitions: any text is a definition within the bounds that its format has, or one line that says what is wrong.

use host_dispatcher::definition::form::{Definition, unknown_parameter};
use host_dispatcher::definition::script::{Frame, Steps};
use host_dispatcher::definition::variable::Variable;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(&input[..input.len().min(TEXT_BYTES_MAX)]);
    match Definition::from_str("d.yaml", &text) {
        Ok(definition) => check(&definition),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes: {message}", message.len());
        }
    }
}

fn check(definition: &Definition) {
    assert!((1..=1000).contains(&definition.steps.len()));
    for step in &definition.steps {
        assert!(!step.trim().is_empty() && step.len() <= 64 << 10 && !step.contains('\0'));
    }
    for (index, parameter) in definition.parameters.iter().enumerate() {
        let assignment = parameter.assignment();
        assert_eq!(read_assignment(&assignment), Some((&*parameter.name, parameter.value.clone())));
        let is_same = |other: &Variable| other.name == parameter.name;
        assert!(!definition.parameters[..index].iter().any(is_same), "{}", parameter.name);
        assert_eq!(unknown_parameter(definition, &parameter.name), None);
    }
    for case in &definition.expected {
        assert!(!case.is_empty() && !case.chars().any(char::is_control));
    }
    let held: usize = definition.steps.iter().chain(&definition.expected).map(String::len).sum();
    // What the YAML reader gives is bounded, whatever aliases stand for.
    assert!(held <= SCALARS_BYTES_MAX, "{held}");
    let frame = Frame { suite: "s", environment: &definition.parameters, has_step_timeout: true };
    let overrides = &definition.parameters;
    let steps = Steps { definition, origin: "d.yaml", overrides, empty_folders: &[] };
    for script in [Some(frame.run_sh(&steps)), frame.install_sh(&steps)].into_iter().flatten() {
        assert!(!script.contains('\0') && script.ends_with('\n'));
    }
}

/// Name and value as a shell reads them: words in single quotes and `\'` between them.
fn read_assignment(line: &str) -> Option<(&str, String)> {
    let (name, mut word) = line.strip_suffix('\n')?.split_once('=')?;
    let mut value = String::new();
    while !word.is_empty() {
        if let Some(rest) = word.strip_prefix("\\'") {
            value.push('\'');
            word = rest;
        } else {
            let (quoted, rest) = word.strip_prefix('\'')?.split_once('\'')?;
            value.push_str(quoted);
            word = rest;
        }
    }
    Some((name, value))
}

/// The reader refuses more than 1 MiB; aliases make much of little.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// A message stands on one line, of a terminal or of a log.
const MESSAGE_BYTES_MAX: usize = 1000;
/// The budget of `config::yaml`, and as much again for what a list of aliases replays.
const SCALARS_BYTES_MAX: usize = 8 << 20;
