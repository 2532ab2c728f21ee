//! A job's tests as the plan that the test agent reads.

use agent_core::wire::plan as wire;

use super::spec::Test;

/// The plan's bytes.
///
/// # Errors
/// A sentence: there are more tests, or longer names, than an agent takes.
pub fn encode(run: &str, tests: &[Test]) -> Result<Vec<u8>, String> {
    if tests.len() > wire::TESTS_MAX {
        return Err(format!("a job has at most {} tests, not {}", wire::TESTS_MAX, tests.len()));
    }
    let mut plan = Vec::new();
    let mut buffer = [0; 512];
    let item = wire::encode_counted(&wire::Header { run }, &mut buffer);
    plan.extend_from_slice(item.map_err(|_| "the run's name is too long".to_owned())?);
    for test in tests {
        if !wire::is_suite_name(&test.name) {
            return Err(format!("{}: no name that a test may have on a board", test.name));
        }
        let timeout_ms = u32::try_from(test.timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let item = wire::Test { suite: &test.name, timeout_ms };
        let item = wire::encode_counted(&item, &mut buffer);
        plan.extend_from_slice(item.map_err(|_| format!("{}: the name is too long", test.name))?);
    }
    Ok(plan)
}
