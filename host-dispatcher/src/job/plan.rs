//! A job's tests as the plan that the test agent reads.

use agent_core::wire::plan as wire;

use std::time::Duration;

use super::spec::Test;

/// The plan's bytes.
///
/// # Errors
/// A sentence: there are more tests, or longer names, than an agent takes.
pub fn encode(run: &str, watchdog: Option<Duration>, tests: &[Test]) -> Result<Vec<u8>, String> {
    if tests.len() > wire::TESTS_MAX {
        return Err(format!("a job has at most {} tests, not {}", wire::TESTS_MAX, tests.len()));
    }
    let mut plan = Vec::new();
    let mut buffer = [0; 512];
    let watchdog_s =
        watchdog.map_or(0, |period| u16::try_from(period.as_secs()).unwrap_or(u16::MAX));
    let header = wire::Header { run, watchdog_s };
    let item = wire::encode_counted(&header, &mut buffer);
    plan.extend_from_slice(item.map_err(|_| "the run's name is too long".to_owned())?);
    for test in tests {
        if !wire::is_suite_name(&test.name) {
            return Err(format!("{}: no name that a test may have on a board", test.name));
        }
        let item = wire::Test {
            suite: &test.name,
            timeout_ms: milliseconds(test.timeout),
            step_timeout_ms: test.step_timeout.map_or(0, milliseconds),
            flags: if test.expects_reboot { wire::Test::EXPECTS_REBOOT } else { 0 },
        };
        let item = wire::encode_counted(&item, &mut buffer);
        plan.extend_from_slice(item.map_err(|_| format!("{}: the name is too long", test.name))?);
    }
    Ok(plan)
}

/// At least 1, which is not "never".
fn milliseconds(period: Duration) -> u32 {
    u32::try_from(period.as_millis()).unwrap_or(u32::MAX).max(1)
}
