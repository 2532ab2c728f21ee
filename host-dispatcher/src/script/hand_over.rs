//! Hand-over: the agent that runs goes on as another one, which comes over the line as far as the board lacks it, and runs
//! from memory. What is on the board's disk stays as it is, and the next boot begins with the agent of the image; unless it
//! is to stay ([`super::persist`]).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use agent_core::time::Duration;
use agent_core::wire::response::Info;
use agent_core::wire::{Method, request};

use super::deploy::{Deployed, Deployer, Place};
use super::files::SHORT_DEADLINE;
use super::persist::Persisted;
use super::tree::too_old;
use super::{Bench, Fault};
use crate::deploy::tree::Tree;
use crate::image::stored::Wanted;
use crate::job::event::Event;

/// The action, on record.
const HAND_OVER: &str = "hand over";

/// The new agent beacons a moment after it was executed; a board that is busy has that much time.
const WAIT: Duration = Duration::from_secs(15);

/// The agent that goes on.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// How it came; nothing when it ran already.
    pub deployed: Option<Deployed>,
    /// Its content.
    pub tree: Tree,
}

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
        // What runs from memory has forgotten where it lay.
        let on_disk = match deployer.persists_agents {
            true => Some(self.agent_on_disk().await),
            false => None,
        };
        let handed = self.action(HAND_OVER, self.hand_over(deployer, program)).await?;
        if let Some(deployed) = &handed.deployed {
            self.tell(Event::Note { text: format!("{HAND_OVER}: {deployed}") });
        }
        let persisted = match on_disk {
            Some(Ok(on_disk)) => self.persist_unless_failed(&on_disk, &handed.tree).await,
            Some(Err(fault)) => Err(fault),
            None => return Ok(()),
        };
        match persisted {
            Ok(persisted) if persisted.tries == 0 => {}
            Ok(persisted) => {
                self.tell(Event::Note { text: format!("{HAND_OVER}: {persisted}") });
            }
            // It runs, whatever the next boot begins with.
            Err(fault) => self.tell(Event::Warning { text: fault.message }),
        }
        Ok(())
    }

    /// The same as [`Bench::hand_over`], and the agent stays on the board's disk.
    ///
    /// # Errors
    /// Those of [`Bench::hand_over`], [`Bench::agent_on_disk`] and [`Bench::persist`].
    pub async fn hand_over_for_good(
        &self,
        deployer: &Deployer,
        program: &Path,
    ) -> Result<(HandedOver, Persisted), Fault> {
        let on_disk = self.agent_on_disk().await?;
        let handed = self.hand_over(deployer, program).await?;
        let persisted = self.persist(&on_disk, &handed.tree).await?;
        Ok((handed, persisted))
    }

    /// Makes the agent go on as `program`, in a session of its own.
    ///
    /// # Errors
    /// The program cannot be read, the agent's, or the new one does not come: then the old one goes on, or the board is
    /// restarted by whoever wants an agent next.
    pub async fn hand_over(
        &self,
        deployer: &Deployer,
        program: &Path,
    ) -> Result<HandedOver, Fault> {
        check_program(program)?;
        let before = self.carried();
        let old_bytes = self.plannable_bytes("").await.ok_or_else(too_old)?;
        let wanted = Wanted::File(program.to_owned());
        let place = Place::Program { old_bytes };
        let work = self.begin_deploy(deployer, HAND_OVER, place, &wanted).await?;
        let image = work.target.clone();
        if old_bytes == image.tree.bytes() && self.has_root("", &image.tree).await? {
            return Ok(HandedOver { deployed: None, tree: image.tree.clone() });
        }
        let deployed = self.carry_through(work, &before).await?;
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
        Ok(HandedOver { deployed: Some(deployed), tree: image.tree.clone() })
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
