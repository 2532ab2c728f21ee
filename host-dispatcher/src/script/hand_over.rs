//! Hand-over: the agent that runs goes on as another one, which comes over the line as far as the board lacks it, and runs
//! from memory. What is on the board's disk stays as it is: the next boot begins with the agent of the image.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use agent_core::time::Duration;
use agent_core::wire::response::Info;
use agent_core::wire::{Method, request};

use super::deploy::{Deployed, Deployer, Place};
use super::files::SHORT_DEADLINE;
use super::tree::too_old;
use super::{Bench, Fault};
use crate::image::stored::Wanted;
use crate::job::event::Event;

/// The action, on record.
const HAND_OVER: &str = "hand over";

/// The new agent beacons a moment after it was executed; a board that is busy has that much time.
const WAIT: Duration = Duration::from_secs(15);

impl Bench {
    /// Hands over to the lab's agent for this machine, if the lab has one and another one runs.
    ///
    /// # Errors
    /// As for [`Bench::hand_over`].
    pub async fn hand_over_to_lab_agent(&self, deployer: &Deployer) -> Result<(), Fault> {
        if deployer.agents.is_empty() {
            return Ok(());
        }
        let answer = self.ask(Method::INFO, &request::Info {}, SHORT_DEADLINE).await?;
        let info: Info<'_> = answer.read()?;
        // `uname -srvm`.
        let machine = info.kernel.rsplit(' ').next().unwrap_or_default();
        let Some(program) = deployer.agents.get(machine) else {
            let text = format!("the lab has no agent for {machine}: the board's own goes on");
            self.tell(Event::Note { text });
            return Ok(());
        };
        let handed = self.action(HAND_OVER, self.hand_over(deployer, program)).await?;
        if let Some(handed) = handed {
            self.tell(Event::Note { text: format!("{HAND_OVER}: {handed}") });
        }
        Ok(())
    }

    /// Makes the agent go on as `program`, in a session of its own. `None` when it is that already.
    ///
    /// # Errors
    /// The program cannot be read, the agent's, or the new one does not come: then the old one goes on, or the board is
    /// restarted by whoever wants an agent next.
    pub async fn hand_over(
        &self,
        deployer: &Deployer,
        program: &Path,
    ) -> Result<Option<Deployed>, Fault> {
        check_program(program)?;
        let before = self.line_bytes();
        let old_bytes = self.plannable_bytes("").await.ok_or_else(too_old)?;
        let wanted = Wanted::File(program.to_owned());
        let place = Place::Program { old_bytes };
        let work = self.begin_deploy(deployer, HAND_OVER, place, &wanted).await?;
        let image = work.target.clone();
        if old_bytes == image.tree.bytes() && self.has_root("", &image.tree).await? {
            return Ok(None);
        }
        let deployed = self.carry_through(work, before).await?;
        let old = self.board(|board, _| board.agent_start());
        let body = request::Reboot { how: request::Reboot::HAND_OVER };
        self.ask(Method::REBOOT, &body, SHORT_DEADLINE).await?;
        let other = self.until(|| {
            self.board(|board, _| board.is_up() && board.agent_start() != old).then_some(())
        });
        let failed = || {
            Fault::infrastructure(format!(
                "the agent {} did not take over: is it built for this board?",
                program.display()
            ))
        };
        self.within(WAIT, other).await.ok_or_else(failed)?;
        if !self.has_root("", &image.tree).await? {
            return Err(failed());
        }
        Ok(Some(deployed))
    }
}

/// Before anything goes over the line. Whether it is one for this board its kernel tells.
pub(super) fn check_program(program: &Path) -> Result<(), Fault> {
    let mut magic = [0; ELF.len()];
    let read = File::open(program).and_then(|mut file| file.read(&mut magic));
    let length = read.map_err(|error| Fault::job(format!("{}: {error}", program.display())))?;
    if magic[..length] != *ELF {
        return Err(Fault::job(format!(
            "{}: not a program: give the pumice-agent that cross/build-agent made for the board",
            program.display()
        )));
    }
    Ok(())
}

/// How a program file begins (`man 5 elf`).
const ELF: &[u8; 4] = b"\x7fELF";
