//! Switching a board's power for a person.

use super::{Bench, Fault};
use crate::board::Goal;
use crate::config::connection::PowerOperation;

impl Bench {
    /// Switches a board's power, and waits for the board to show it by reaching `goal`. Interrupts end it.
    ///
    /// # Errors
    /// The board is broken, and why; or [`Canceled`](crate::job::verdict::ErrorClass::Canceled).
    pub async fn switch_power(&self, operation: PowerOperation, goal: Goal) -> Result<(), Fault> {
        let work = async {
            if operation != PowerOperation::On {
                self.reach(Goal::Off).await?;
            }
            if operation != PowerOperation::Off {
                // "Accepted" is not "done": a board that was switched on shows it by coming up.
                self.reach(goal).await?;
            }
            Ok(())
        };
        self.cancelable(self.action(&format!("power {operation}"), work)).await
    }
}
