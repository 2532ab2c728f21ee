//! `pumice token`: who may speak with a lab.

use std::io::{self, Write};

use serde_json::json;

use crate::cli::{Global, TokenAction};
use crate::io::clock;
use crate::store::tokens::{self, NotAdded, Role, Tokens};

use super::images::store;

/// Makes a token and writes it to `out`, lists tokens, or takes one back. The exit status is 0 when that was done.
///
/// # Errors
/// The name is taken or is none, there is no such token, or the store or `out` cannot be written to.
pub fn token(global: &Global, action: &TokenAction, out: &mut impl Write) -> io::Result<u8> {
    let store = store(global);
    let mut known = Tokens::load(&store).map_err(io::Error::other)?;
    match action {
        TokenAction::Add { name, role } => {
            let random = tokens::random()?;
            let token = known.add(name, *role, clock::wall(), random);
            let token = token.map_err(|why| io::Error::other(sentence(name, why)))?;
            known.save(&store).map_err(io::Error::other)?;
            if global.json {
                writeln!(out, "{}", json!({ "name": name, "role": role, "token": token }))?;
            } else {
                writeln!(out, "{token}")?;
            }
        }
        TokenAction::List => {
            for token in known.all() {
                let (name, role, created) = (&token.name, token.role, token.created);
                if global.json {
                    let line = json!({ "name": name, "role": role, "created": created });
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{name:<24}  {:<9}  since {created:.0}", word(role))?;
                }
            }
        }
        TokenAction::Remove { name } => {
            if !known.remove(name) {
                let message = format!("there is no token of {name}: see pumice token list");
                return Err(io::Error::other(message));
            }
            known.save(&store).map_err(io::Error::other)?;
        }
    }
    Ok(0)
}

fn sentence(name: &str, why: NotAdded) -> String {
    match why {
        NotAdded::Taken => {
            format!("{name} has a token: take it back with \"pumice token remove {name}\" first")
        }
        NotAdded::Name => "a name has 1 to 64 letters, digits and . _ @ + -".into(),
        NotAdded::Many => "there are 1000 tokens: take some back".into(),
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::test_folder::TestFolder;

    #[test]
    fn a_token_is_made_listed_and_taken_back() {
        let folder = TestFolder::new();
        let global = Global { store: Some(folder.path().to_owned()), ..Global::default() };
        let run = |action: TokenAction| {
            let mut out = Vec::new();
            token(&global, &action, &mut out).map(|_| String::from_utf8(out).unwrap())
        };
        let add = |name: &str| TokenAction::Add { name: name.into(), role: Role::Viewer };
        let made = run(add("anna")).unwrap();
        assert_eq!((made.len(), &made[..7]), (72, "pumice_"));
        assert!(run(add("anna")).unwrap_err().to_string().contains("token remove anna"));
        let listed = run(TokenAction::List).unwrap();
        assert!(listed.starts_with("anna ") && listed.contains("viewer"), "{listed}");
        assert!(!listed.contains(made.trim()));
        run(TokenAction::Remove { name: "anna".into() }).unwrap();
        assert!(run(TokenAction::Remove { name: "anna".into() }).is_err());
        assert_eq!(run(TokenAction::List).unwrap(), "");
    }
}
