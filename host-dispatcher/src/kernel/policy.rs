//! What a job wants done about each kind of kernel report.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a kernel reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It stopped for good.
    Panic,
    /// An exception in the kernel that killed what ran.
    Oops,
    /// `BUG()`, and the other faults that the kernel calls so.
    Bug,
    /// `WARN()`.
    Warn,
    /// A task waits for too long.
    HungTask,
    /// A processor holds up RCU.
    RcuStall,
    /// A processor does not schedule, or does not take interrupts.
    Lockup,
    /// A lock was used in a way that may end in a deadlock; RCU without its lock.
    Lockdep,
    /// KASAN, KFENCE, KCSAN, KMSAN, UBSAN, kmemleak.
    Sanitizer,
    /// The kernel killed a process for its memory.
    Oom,
}

/// What is to be done about a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It stands in the record.
    Record,
    /// ... and the case that ran has failed.
    Fail,
    /// ... and the run stops.
    Abort,
}

/// What a job wants done about each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    actions: [Action; Kind::ALL.len()],
}

/// `kernel:` of a job file.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyForm {
    panic: Option<Action>,
    oops: Option<Action>,
    bug: Option<Action>,
    warn: Option<Action>,
    hung_task: Option<Action>,
    rcu_stall: Option<Action>,
    lockup: Option<Action>,
    lockdep: Option<Action>,
    sanitizer: Option<Action>,
    oom: Option<Action>,
}

impl Policy {
    /// What is to be done about a report of this kind.
    pub fn action(&self, kind: Kind) -> Action {
        self.actions[kind as usize]
    }
}

impl Default for Policy {
    /// After a panic nothing runs; an oops and a BUG are never meant so; the rest is recorded, for a kernel that warns
    /// may do what it should all the same.
    fn default() -> Self {
        Self {
            actions: Kind::ALL.map(|kind| match kind {
                Kind::Panic => Action::Abort,
                Kind::Oops | Kind::Bug => Action::Fail,
                _ => Action::Record,
            }),
        }
    }
}

impl PolicyForm {
    /// The policy: what is not said is as in [`Policy::default`].
    pub fn policy(&self) -> Policy {
        let default = Policy::default();
        let actions = Kind::ALL.map(|kind| {
            let said = match kind {
                Kind::Panic => self.panic,
                Kind::Oops => self.oops,
                Kind::Bug => self.bug,
                Kind::Warn => self.warn,
                Kind::HungTask => self.hung_task,
                Kind::RcuStall => self.rcu_stall,
                Kind::Lockup => self.lockup,
                Kind::Lockdep => self.lockdep,
                Kind::Sanitizer => self.sanitizer,
                Kind::Oom => self.oom,
            };
            said.unwrap_or_else(|| default.action(kind))
        });
        Policy { actions }
    }
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Panic,
        Self::Oops,
        Self::Bug,
        Self::Warn,
        Self::HungTask,
        Self::RcuStall,
        Self::Lockup,
        Self::Lockdep,
        Self::Sanitizer,
        Self::Oom,
    ];

    /// The word, as it stands in every file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Oops => "oops",
            Self::Bug => "bug",
            Self::Warn => "warn",
            Self::HungTask => "hung_task",
            Self::RcuStall => "rcu_stall",
            Self::Lockup => "lockup",
            Self::Lockdep => "lockdep",
            Self::Sanitizer => "sanitizer",
            Self::Oom => "oom",
        }
    }
}

impl Action {
    /// The word, as it stands in every file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Fail => "fail",
            Self::Abort => "abort",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_words_agree_everywhere() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(text, format!("\"{kind}\""));
            let form: PolicyForm =
                serde_json::from_str(&format!("{{\"{kind}\": \"abort\"}}")).unwrap();
            for other in Kind::ALL {
                let expected =
                    if other == kind { Action::Abort } else { Policy::default().action(other) };
                assert_eq!(form.policy().action(other), expected, "{kind}: {other}");
            }
        }
    }
}
