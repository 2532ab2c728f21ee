//! The shell on a board's console, through which an agent is put on a board that has none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::value::Period;
use super::yaml::{FileError, Spanned, place};

/// How to get at the shell, and what to do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Whom to log in; nobody where the console is a shell already.
    pub login: Option<String>,
    /// A file of the lab host whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The text that asks who logs in, at the end of a line.
    pub login_prompt: String,
    /// The text that asks for the password, at the end of a line.
    pub password_prompt: String,
    /// Texts that say that user or password was wrong.
    pub refused: Vec<String>,
    /// The agent; otherwise that of the lab's `agents:` for the board's machine.
    pub agent: Option<PathBuf>,
    /// Where it may be put on the board, best first.
    pub folders: Vec<String>,
    /// Words for it.
    pub arguments: Vec<String>,
    /// The pause after each character typed, for boards that lose them.
    pub character_delay: Option<Duration>,
}

impl Default for Shell {
    fn default() -> Self {
        Self::from(ShellForm::default())
    }
}

impl Shell {
    /// The same with its files relative to `base`.
    #[must_use]
    pub fn within(self, base: &Path) -> Self {
        let within = |path: PathBuf| base.join(path);
        Self {
            password_file: self.password_file.map(within),
            agent: self.agent.map(within),
            ..self
        }
    }
}

/// A shell as it stands in a file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShellForm {
    login: Option<String>,
    password_file: Option<PathBuf>,
    login_prompt: Option<String>,
    password_prompt: Option<String>,
    refused: Option<Vec<String>>,
    agent: Option<PathBuf>,
    folders: Option<Vec<String>>,
    #[serde(default)]
    arguments: Vec<String>,
    character_delay: Option<Period>,
}

impl From<ShellForm> for Shell {
    fn from(form: ShellForm) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            login: form.login,
            password_file: form.password_file,
            login_prompt: form.login_prompt.unwrap_or_else(|| LOGIN_PROMPT.into()),
            password_prompt: form.password_prompt.unwrap_or_else(|| PASSWORD_PROMPT.into()),
            refused: form.refused.unwrap_or_else(|| texts(REFUSED)),
            agent: form.agent,
            folders: form.folders.unwrap_or_else(|| texts(FOLDERS)),
            arguments: form.arguments,
            character_delay: form.character_delay.map(Period::duration),
        }
    }
}

/// The shell that a form describes.
///
/// # Errors
/// What cannot be typed, or cannot be meant.
pub(super) fn shell(file: &str, form: Spanned<ShellForm>) -> Result<Shell, FileError> {
    let at = place(&form);
    let shell = Shell::from(form.value);
    match check(&shell) {
        Ok(()) => Ok(shell),
        Err((message, mend)) => {
            Err(FileError::at(file, at, format!("shell: {message}")).mend(mend))
        }
    }
}

fn check(shell: &Shell) -> Result<(), (String, &'static str)> {
    let mut texts = [&shell.login_prompt, &shell.password_prompt].into_iter().chain(&shell.refused);
    if !texts.all(|text| (1..=TEXT_MAX).contains(&text.trim().len())) {
        let message = format!("prompts and refusals are texts of 1 to {TEXT_MAX} characters");
        return Err((message, "write \"login_prompt: 'login:'\", or leave it out"));
    }
    let is_typable = |text: &String| {
        text.len() <= TEXT_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if !shell.login.iter().chain(&shell.arguments).all(is_typable) {
        let message =
            format!("login and arguments are at most {TEXT_MAX} printable ASCII characters");
        return Err((message, "write \"login: root\""));
    }
    if shell.arguments.len() > ARGUMENTS_MAX || shell.refused.len() > ARGUMENTS_MAX {
        return Err((format!("a list with more than {ARGUMENTS_MAX} texts"), "leave some out"));
    }
    let is_folder = |folder: &String| {
        folder.starts_with('/')
            && folder.len() <= TEXT_MAX
            && folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
    };
    if !(1..=FOLDERS_MAX).contains(&shell.folders.len()) || !shell.folders.iter().all(is_folder) {
        let message = format!(
            "folders are 1 to {FOLDERS_MAX} absolute paths of letters, digits, '.', '_' and '-'"
        );
        return Err((message, "write \"folders: [/tmp, /run]\""));
    }
    Ok(())
}

/// util-linux, busybox and shadow ask so.
const LOGIN_PROMPT: &str = "login:";
const PASSWORD_PROMPT: &str = "assword:";
/// busybox, util-linux and shadow; PAM's text for an account that is locked.
const REFUSED: &[&str] =
    &["Login incorrect", "Login failed", "Authentication failure", "account locked"];
/// In memory on most boards; `/tmp` may be mounted noexec, and is not there on a read-only root without one.
const FOLDERS: &[&str] = &["/tmp", "/run", "/dev/shm", "/var/tmp"];
const FOLDERS_MAX: usize = 8;
const ARGUMENTS_MAX: usize = 32;
/// A line of the shell holds them all.
const TEXT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn parse(text: &str) -> Result<Shell, String> {
        let form = yaml::from_str("t.yaml", text, &[]).map_err(|error| error.to_string())?;
        shell("t.yaml", form).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_most_boards_have_it() {
        let shell = parse("login: root\npassword_file: secret\n").unwrap();
        assert_eq!(
            shell,
            Shell {
                login: Some("root".into()),
                password_file: Some("secret".into()),
                ..Shell::default()
            }
        );
        let shell = shell.within(Path::new("/lab"));
        assert_eq!(shell.password_file.as_deref(), Some(Path::new("/lab/secret")));
    }

    #[test]
    fn mistakes() {
        for (text, expected) in [
            ("loggin: root\n", "t.yaml:1: unknown key \"loggin\": did you mean \"login\"?"),
            (
                "folders: ['/tmp; reboot']\n",
                "t.yaml:1: shell: folders are 1 to 8 absolute paths of letters, digits, '.', '_' and '-': write \"folders: [/tmp, /run]\"",
            ),
            (
                "login: \"root\\nreboot\"\n",
                "t.yaml:1: shell: login and arguments are at most 64 printable ASCII characters: write \"login: root\"",
            ),
            (
                "login_prompt: ''\n",
                "t.yaml:1: shell: prompts and refusals are texts of 1 to 64 characters: write \"login_prompt: 'login:'\", or leave it out",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
