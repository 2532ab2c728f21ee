//! One line of TAP or KTAP: how deep it stands, and what it says.
//!
//! Sources: TAP 12, 13 and 14 (<https://testanything.org/tap-version-14-specification.html>), KTAP 1 (the kernel's
//! Documentation/dev-tools/ktap.rst), and what the kernel's tools/testing/selftests/kselftest/runner.sh prints.

use super::output::{NAME_BYTES_MAX, WHY_BYTES_MAX, clipped};
use super::verdict::CaseResult;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// `TAP version 13`, `KTAP version 1`.
    Version,
    /// `1..N`; with why all is skipped, if it says so.
    Plan { count: u32, skip: Option<&'a str> },
    /// `ok 1 - name # SKIP why`.
    Test(Test),
    /// `# Subtest: name`, or `# selftests: dir: program`: what comes deeper belongs to this.
    Subtest(&'a str),
    /// `Bail out! why`.
    BailOut(&'a str),
    /// `---`: a block of YAML begins.
    YamlStart,
    /// `...`: it ends.
    YamlEnd,
    /// `# text`, seen from where the mark stands.
    Comment { at: usize, text: &'a str },
    /// Anything else.
    Other,
}

/// The result of one test point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    /// Its number, if it has one.
    pub(super) number: Option<u32>,
    /// Its name; empty if it has none.
    pub(super) name: String,
    pub(super) result: CaseResult,
    /// What its directive says.
    pub(super) why: Option<String>,
    /// Whether nothing but a name after ` - `, or nothing at all, follows where the number should be.
    pub(super) is_strict: bool,
}

/// How deep a line stands, in columns, and what it says. `# ` before something counts as two columns, since kselftest
/// puts that before what a test prints; a time of printk's counts as none.
pub(super) fn parse(line: &str) -> (usize, Token<'_>) {
    let mut rest = without_printk_prefix(line);
    let mut columns = 0;
    let mut mark = None;
    loop {
        if let Some(deeper) = rest.strip_prefix([' ', '\t']) {
            rest = deeper;
            columns += 1;
        } else if let Some(comment) = rest.strip_prefix("# ") {
            if let Some(name) = comment.strip_prefix("Subtest: ") {
                return (columns, Token::Subtest(name.trim()));
            }
            if comment.starts_with("selftests: ") {
                return (columns, Token::Subtest(comment.trim()));
            }
            mark = Some(columns);
            rest = comment;
            columns += 2;
        } else {
            break;
        }
        if columns > COLUMNS_MAX {
            return (columns, Token::Other);
        }
    }
    let token = token_of(rest.trim_end());
    match (token, mark) {
        (Token::Other, Some(at)) => (columns, Token::Comment { at, text: rest.trim_end() }),
        (token, _) => (columns, token),
    }
}

fn token_of(text: &str) -> Token<'_> {
    let version = text.strip_prefix("KTAP version ").or_else(|| text.strip_prefix("TAP version "));
    if version.is_some_and(|number| number.parse::<u16>().is_ok()) {
        return Token::Version;
    }
    if let Some(plan) = text.strip_prefix("1..") {
        let (count, comment) = plan.split_once('#').unwrap_or((plan, ""));
        let is_number = count.trim_end().bytes().all(|byte| byte.is_ascii_digit());
        return match count.trim_end().parse() {
            Ok(count) if is_number => Token::Plan { count, skip: skip_of(comment) },
            _ => Token::Other,
        };
    }
    if let Some(why) = text.strip_prefix("Bail out!") {
        return Token::BailOut(why.trim());
    }
    match text {
        "---" => return Token::YamlStart,
        "..." => return Token::YamlEnd,
        _ => {}
    }
    let (is_ok, rest) = match (text.strip_prefix("ok"), text.strip_prefix("not ok")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Token::Other,
    };
    if rest.is_empty() || rest.starts_with(' ') {
        Token::Test(test(is_ok, rest.trim_start()))
    } else {
        Token::Other
    }
}

fn test(is_ok: bool, text: &str) -> Test {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let after = &text[digits..];
    let has_number = digits > 0 && (after.is_empty() || after.starts_with(' '));
    let number = if has_number { text[..digits].parse().ok() } else { None };
    let text = if number.is_some() { after.trim_start() } else { text };
    let is_strict = text.is_empty() || text.starts_with("- ") || text.starts_with("# ");
    let text = text.strip_prefix("- ").or_else(|| text.strip_prefix('-')).unwrap_or(text);
    let (name, directive) = split_directive(text);
    let result = match (is_ok, directive.as_ref().map(|(word, _)| *word)) {
        (_, Some(Directive::Skip)) => CaseResult::Skip,
        (false, Some(Directive::Todo)) => CaseResult::Skip,
        (_, Some(Directive::XFail)) => CaseResult::Pass,
        (_, Some(Directive::Timeout | Directive::Error)) => CaseResult::Fail,
        (true, _) => CaseResult::Pass,
        (false, _) => CaseResult::Fail,
    };
    let why = directive
        .filter(|(word, _)| result != CaseResult::Pass || *word == Directive::XFail)
        .map(|(_, text)| clipped(text, WHY_BYTES_MAX));
    Test { number, name: clipped(&unescaped(name.trim()), NAME_BYTES_MAX), result, why, is_strict }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Skip,
    Todo,
    XFail,
    Timeout,
    Error,
    /// `exit=1`: what kselftest adds.
    Data,
}

/// A name, and what stands behind its `#`, if that is a directive; a `#` that is none belongs to the name.
fn split_directive(text: &str) -> (&str, Option<(Directive, &str)>) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        let begins_word = at == 0 || text[..at].ends_with([' ', '\t']);
        if c == '#' && !escaped && begins_word {
            let directive = text[at + 1..].trim();
            if let Some(word) = directive_of(directive) {
                return (&text[..at], Some((word, directive)));
            }
        }
        escaped = c == '\\' && !escaped;
    }
    (text, None)
}

fn directive_of(text: &str) -> Option<Directive> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let word = text[..end].to_ascii_lowercase();
    match word.as_str() {
        // TAP 12 and 13 take any word that begins so: SKIPPED, skip:
        _ if word.starts_with("skip") => Some(Directive::Skip),
        "todo" => Some(Directive::Todo),
        "xfail" => Some(Directive::XFail),
        "timeout" => Some(Directive::Timeout),
        "error" => Some(Directive::Error),
        _ if !word.is_empty() && text[end..].starts_with('=') => Some(Directive::Data),
        _ => None,
    }
}

fn skip_of(comment: &str) -> Option<&str> {
    let comment = comment.trim();
    (directive_of(comment) == Some(Directive::Skip)).then_some(comment)
}

/// TAP 14: `\#` is a `#`, `\\` a `\`.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ ('#' | '\\'))) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// Without `<6>[   12.345678] ` and `[   12.345678][  T123] `, where KTAP comes through the kernel's log.
fn without_printk_prefix(line: &str) -> &str {
    let mut rest = line;
    if let Some((priority, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'))
        && !priority.is_empty()
        && priority.bytes().all(|byte| byte.is_ascii_digit())
    {
        rest = after;
    }
    let Some((time, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return line;
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time
        .trim_start()
        .split_once('.')
        .is_some_and(|(seconds, micros)| is_digits(seconds) && is_digits(micros));
    if !is_time {
        return line;
    }
    // The task or processor that wrote it (CONFIG_PRINTK_CALLER).
    let after = match after.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((caller, after)) if caller.trim_start().starts_with(['T', 'C']) => after,
        _ => after,
    };
    after.strip_prefix(' ').unwrap_or(after)
}

/// No document stands deeper.
const COLUMNS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn point(line: &str) -> (usize, String) {
        match parse(line) {
            (columns, Token::Test(test)) => {
                let number = test.number.map_or_else(|| "?".into(), |number| number.to_string());
                let why = test.why.unwrap_or_default();
                (columns, format!("{number}|{}|{}|{why}", test.name, test.result))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn test_points() {
        for (line, columns, expected) in [
            ("ok", 0, "?||pass|"),
            ("not ok 3", 0, "3||fail|"),
            ("ok 1 - reads", 0, "1|reads|pass|"),
            ("  ok 2 name of it", 2, "2|name of it|pass|"),
            ("# not ok 2 x # exit=1", 2, "2|x|fail|exit=1"),
            ("# # ok 2 x", 4, "2|x|pass|"),
            ("ok 4 - # SKIP no card", 0, "4||skip|SKIP no card"),
            ("not ok 4 b # skipped: root only", 0, "4|b|skip|skipped: root only"),
            ("not ok 5 c # TODO later", 0, "5|c|skip|TODO later"),
            ("ok 5 c # TODO later", 0, "5|c|pass|"),
            ("not ok 6 d # XFAIL known", 0, "6|d|pass|XFAIL known"),
            ("not ok 7 e # TIMEOUT 45 seconds", 0, "7|e|fail|TIMEOUT 45 seconds"),
            ("not ok 8 f # ERROR no module", 0, "8|f|fail|ERROR no module"),
            ("ok 9 issue #12 # of many", 0, "9|issue #12 # of many|pass|"),
            ("ok 9 a \\# SKIP \\\\ b", 0, "9|a # SKIP \\ b|pass|"),
            ("ok 99999999999 x", 0, "?|99999999999 x|pass|"),
            ("<6>[   12.345678] ok 1 k", 0, "1|k|pass|"),
            ("[   12.345678][  T123]     ok 1 k", 4, "1|k|pass|"),
            ("ok 1 - tabs\tand # time=3", 0, "1|tabs\tand|pass|"),
        ] {
            assert_eq!(point(line), (columns, expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn other_tokens() {
        for (line, columns, expected) in [
            ("TAP version 13", 0, Token::Version),
            ("  KTAP version 1", 2, Token::Version),
            ("TAP version of the day", 0, Token::Other),
            ("1..4", 0, Token::Plan { count: 4, skip: None }),
            ("1..0 # SKIP not here", 0, Token::Plan { count: 0, skip: Some("SKIP not here") }),
            ("1..+4", 0, Token::Other),
            ("1..4 apples", 0, Token::Other),
            ("    # Subtest: mm", 4, Token::Subtest("mm")),
            ("# selftests: net: udp", 0, Token::Subtest("selftests: net: udp")),
            ("Bail out! no disk", 0, Token::BailOut("no disk")),
            ("  ---", 2, Token::YamlStart),
            ("  ...", 2, Token::YamlEnd),
            ("  # EXPECTATION FAILED", 4, Token::Comment { at: 2, text: "EXPECTATION FAILED" }),
            ("okay", 0, Token::Other),
            ("not okay", 0, Token::Other),
            ("", 0, Token::Other),
        ] {
            assert_eq!(parse(line), (columns, expected), "{line}");
        }
    }
}
