//! Persist: the agent that was handed over to takes the place of the one that the board starts with, on trial.
//!
//! The board's own shell moves the files; every step leaves a board that boots:
//!
//! | | `PROGRAM` | beside it | a cut of the power |
//! |---|---|---|---|
//! | 1 | the old one | `.new`: the one that runs, copied, on the disk, read back | starts the old one |
//! | 2 | the old one | `.previous`: the old one too | starts the old one |
//! | 3 | the old one | `.trial`: the mark of the new one's starts | starts the old one; it may count down, which does no harm |
//! | 4 | the new one | | starts the new one, on trial |
//!
//! The agent counts its starts (`agent-linux/src/trial.rs`) until it has had a session, and with none left goes on as
//! `.previous`.

use agent_core::time::Duration;
use serde::Serialize;

use super::{Bench, Fault};
use crate::deploy::tree::Tree;

/// Where the agent that the board starts with lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// Its path on the board.
    path: String,
    /// The one there was tried in vain; the one before it runs.
    has_fallen_back: bool,
}

/// An agent that lies on the board's disk from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Persisted {
    /// Where.
    pub path: String,
    /// So many starts it has until it must have had a session; 0 if it was there already.
    pub tries: usize,
}

impl std::fmt::Display for Persisted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, tries } = self;
        match tries {
            0 => write!(f, "{path} is that one already"),
            _ => write!(
                f,
                "it is {path} from now on; the one before it goes on as {path}.previous when there was no session in {tries} \
                 starts"
            ),
        }
    }
}

impl Bench {
    /// Finds the program that the board starts its agent from. To be asked before a hand-over: what runs from memory has
    /// forgotten where it lay.
    ///
    /// # Errors
    /// There is none that could be replaced; a sentence says why.
    pub async fn agent_on_disk(&self) -> Result<OnDisk, Fault> {
        let said = self.on_board(LOOK, &[]).await?;
        let found = OnDisk::from_look(&said).map_err(|why| refused(&why))?;
        self.on_board(CHECK, &[&found.path]).await?;
        Ok(found)
    }

    /// Puts the running agent, which `tree` is of, in the place of the one on the disk.
    ///
    /// # Errors
    /// The disk cannot be written to, or what was written is not what was meant: then the one that was there is still.
    pub async fn persist(&self, on_disk: &OnDisk, tree: &Tree) -> Result<Persisted, Fault> {
        let OnDisk { path, has_fallen_back } = on_disk;
        if !has_fallen_back && self.is_there(path, tree).await? {
            return Ok(Persisted { path: path.clone(), tries: 0 });
        }
        self.on_board(COPY, &[path]).await?;
        let new = format!("{path}.new");
        if !self.has_root(&new, tree).await? {
            let _ = self.on_board("rm -f \"$1\"", &[&new]).await;
            return Err(refused(&format!("{new} reads back as other bytes than were written")));
        }
        let previous = if *has_fallen_back { "kept" } else { "made" };
        self.on_board(PLACE, &[path, previous, &"+".repeat(TRIES)]).await?;
        Ok(Persisted { path: path.clone(), tries: TRIES })
    }

    /// The same, but what has failed its trial there is not tried again: each time costs boots.
    ///
    /// # Errors
    /// As for [`Bench::persist`].
    pub async fn persist_unless_failed(
        &self,
        on_disk: &OnDisk,
        tree: &Tree,
    ) -> Result<Persisted, Fault> {
        let path = &on_disk.path;
        if on_disk.has_fallen_back && self.is_there(path, tree).await? {
            return Err(refused(&format!(
                "nobody heard of it when {path} was started, and the one before it goes on; \"pumice hand-over --persist\" \
                 tries it again"
            )));
        }
        self.persist(on_disk, tree).await
    }

    async fn is_there(&self, path: &str, tree: &Tree) -> Result<bool, Fault> {
        // Nothing is read of what has another length.
        let has_length = self.plannable_bytes(path).await == Some(tree.bytes());
        Ok(has_length && self.has_root(path, tree).await?)
    }

    /// Runs a script on the board; what it said. Its last line is the reason when it fails.
    async fn on_board(&self, script: &str, words: &[&str]) -> Result<String, Fault> {
        let words = [&["sh", "-c", script, "persist"], words].concat();
        let outcome = self.run_command(&words, COMMAND_LIMIT).await?;
        if outcome.is_good() {
            return Ok(outcome.output);
        }
        let why = outcome.output.trim().lines().last().unwrap_or("a command failed").to_owned();
        Err(refused(&why))
    }
}

impl OnDisk {
    /// What [`LOOK`] said.
    fn from_look(said: &str) -> Result<Self, String> {
        let mut lines = said.lines().map(|line| line.trim_end().trim_end_matches(" (deleted)"));
        let mut next = || lines.next().unwrap_or_default();
        let (agent, parent, parents_name, arguments) = (next(), next(), next(), next());
        let has_keeper = parents_name == "pumice-keeper";
        let program = match agent {
            _ if !agent.starts_with("/memfd:") => agent,
            _ if has_keeper => parent,
            _ => {
                return Err("the agent runs from memory, and where it came from is not known: restart the board, and hand \
                            over with --persist in one go"
                    .to_owned());
            }
        };
        if !program.starts_with('/') || program.starts_with("/memfd:") {
            return Err("the agent's program cannot be found on the board's disk".to_owned());
        }
        if has_keeper && !arguments.split_whitespace().any(|word| word == "rw") {
            return Err("the kernel mounts its root for reading only: the starts of a new agent could not be counted; add \
                        \"rw\" to kernel_args"
                .to_owned());
        }
        let path = program.strip_suffix(PREVIOUS).unwrap_or(program);
        Ok(Self { path: path.to_owned(), has_fallen_back: path != program })
    }
}

fn refused(why: &str) -> Fault {
    Fault::infrastructure(format!("the agent was not put on the disk: {why}"))
}

/// The agent's program, that of its parent and the parent's name, the kernel's arguments: a line each.
const LOOK: &str = r#"
echo "$(readlink /proc/$PPID/exe)"
parent=1
while read key value; do [ "$key" != PPid: ] || parent=$value; done </proc/$PPID/status
echo "$(readlink /proc/$parent/exe)"
cat /proc/$parent/comm
cat /proc/cmdline
"#;

/// Whether what is written beside `$1` can be written, and stays.
const CHECK: &str = r#"
refuse() { echo "$*"; exit 1; }
find_mount() {
    best=
    while read device mount type options rest; do
        case $1/ in
        "${mount%/}"/*) if [ ${#mount} -ge ${#best} ]; then best=$mount is=$type how=$options; fi ;;
        esac
    done </proc/mounts
}
find_mount "${1%/*}"
case ,$how, in
*,ro,*) refuse "$best is mounted for reading only: mount it for writing first (mount -o remount,rw $best)" ;;
esac
# What is written there goes to its upper layer, whose path may be another today.
if [ $is = overlay ]; then
    upper=${how#*upperdir=}
    find_mount "${upper%%,*}"
    if [ $is = overlay ] || ! [ -d "${upper%%,*}" ]; then refuse "$1 is on an overlay: nobody knows whether its upper layer outlasts a boot"; fi
fi
case $is in
tmpfs | ramfs | rootfs | devtmpfs) refuse "$1 is on $is, and would be gone with the next boot" ;;
esac
[ -f "$1" ] || refuse "$1 is no file"
"#;

/// Copies the running agent beside `$1`, to the disk and not only to the kernel's memory of it.
const COPY: &str = r#"
cp /proc/$PPID/exe "$1.new" && chmod 755 "$1.new" && sync || { rm -f "$1.new"; exit 1; }
echo 3 2>/dev/null >/proc/sys/vm/drop_caches
:
"#;

/// Puts `$1.new` in the place of `$1`, which is kept unless `$2` says that the one before it is; `$3` is the mark. What
/// cannot be finished leaves nothing that takes room. (busybox's own printf says nothing of a disk that is full.)
const PLACE: &str = r#"
set -e
trap '[ $? = 0 ] || rm -f "$1.new" "$1.old" "$1.mark"' EXIT
printf %s "$3" | cat >"$1.mark"
if [ "$2" = made ]; then
    ln -f "$1" "$1.old" 2>/dev/null || cp "$1" "$1.old"
    sync
    mv -f "$1.old" "$1.previous"
    rm -f "$1.old"
fi
sync
mv -f "$1.mark" "$1.trial"
sync
mv -f "$1.new" "$1"
sync
"#;

const PREVIOUS: &str = ".previous";

/// Starts of a new agent until it must have had a session. Each boot takes two (process 1 and the agent), so these are two
/// boots of which nobody heard anything; an agent that dies at once has used them up in a moment.
const TRIES: usize = 4;

/// Copying 200 kB and some syncs, on the slowest card beside whatever else it writes.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn look(lines: [&str; 4]) -> Result<(String, bool), String> {
        let found = OnDisk::from_look(&(lines.join("\n") + "\n"))?;
        Ok((found.path, found.has_fallen_back))
    }

    #[test]
    fn the_program_that_the_board_starts_is_found() {
        let agent = "/sbin/pumice-agent";
        let memory = "/memfd:pumice-agent (deleted)";
        let (keeper, systemd) = ("pumice-keeper", "/usr/lib/systemd/systemd");
        let rw = "console=ttyS0 rw init=/sbin/pumice-agent";
        let is = |path: &str, fell| Ok((path.to_owned(), fell));
        assert_eq!(look([agent, agent, keeper, rw]), is(agent, false));
        assert_eq!(look([memory, agent, keeper, rw]), is(agent, false));
        let replaced = "/sbin/pumice-agent (deleted)";
        assert_eq!(look([memory, replaced, keeper, rw]), is(agent, false), "replaced since");
        let previous = "/sbin/pumice-agent.previous";
        assert_eq!(look([previous, previous, keeper, rw]), is(agent, true));
        // A unit's agent is started when the root is there.
        assert_eq!(look([agent, systemd, "systemd", "ro quiet"]), is(agent, false));
        for (lines, why) in [
            ([memory, systemd, "systemd", rw], "hand over with --persist in one go"),
            ([memory, memory, keeper, rw], "cannot be found"),
            (["", "", "", ""], "cannot be found"),
            ([agent, agent, keeper, "root=/dev/vda1 ro"], "add \"rw\""),
        ] {
            let error = look(lines).unwrap_err();
            assert!(error.contains(why), "{lines:?}: {error}");
        }
    }
}
