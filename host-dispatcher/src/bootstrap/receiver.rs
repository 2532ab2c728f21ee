//! The loop that the shell runs: it takes lines, checks each, does what it says once, and answers framed.
//!
//! A line is `NUMBER CHECK WORDS`; CHECK is that of `NUMBER WORDS`. The answer is `<P NUMBER STATUS OUTPUT|NUMBER STATUS
//! OUTPUT P>`, where OUTPUT is what the words left in `$o`; a line that came damaged is answered with `bad`, and one that
//! is there again is answered again, and not done again. So text that comes in between can damage an answer, but make
//! none. The line `q` ends the loop.

use super::tools::Check;

/// What is typed to define and begin the loop; each line is one of the shell's continuation lines, and short.
pub(super) fn definition(check: Check) -> String {
    let program = check.program();
    format!(
        "n=;while IFS= read -r l&&[ \"$l\" != q ];do\n\
         s=${{l%% *}};b=${{l#* }};c=${{b%% *}};b=${{b#* }}\n\
         k=$(printf %s \"$s $b\"|{program});k=${{k%% *}}\n\
         r=\"$s bad\";if [ \"$c\" = \"$k\" ];then\n\
         if [ \"$s\" != \"$n\" ];then o=;eval \"$b\";e=$?;n=$s;fi\n\
         r=\"$s $e $o\";fi;echo \"<P $r|$r P>\";done;stty echo\n"
    )
}

/// Ends the loop; nothing to a shell that has none but an unknown command.
pub(super) const QUIT: &str = "q\n";

/// What gets a shell out of what a damaged definition may have led it into: a line that was not ended, a quotation, a
/// loop without its end. One before each new definition.
pub(super) const WAYS_OUT: [&str; 4] =
    ["\x03\n", "\nq\n", "\nfi;fi\ndone\nq\n", "\"\nfi;fi\ndone\nq\n"];

/// A line for the loop.
pub(super) fn line(check: Check, number: u32, words: &str) -> String {
    let sum = check.of(format!("{number} {words}").as_bytes());
    format!("{number} {sum} {words}\n")
}

/// The same with a check that is wrong.
pub(super) fn damaged_line(check: Check, number: u32, words: &str) -> String {
    let sum = check.of(format!("{number} {words} ").as_bytes());
    format!("{number} {sum} {words}\n")
}

/// What the loop said of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done: the status of its last command, and what it left in `$o`.
    Done(i32, String),
    /// It came damaged.
    Bad,
    /// Something was said, and came damaged.
    Unreadable,
}

/// The answer to a line in a text, if there is one by now. Those to other lines are passed over.
pub(super) fn answer(text: &str, number: u32) -> Option<Answer> {
    match answer_in(text, number) {
        Some(Answer::Unreadable) => answer_in(&without_kernel_lines(text), number),
        found => found,
    }
}

/// Without what a kernel has printed into it, as far as its lines have their timestamps. What is taken away too much, or
/// is left, makes an answer whose halves differ.
pub(super) fn without_kernel_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let stamp =
            from[1..].bytes().position(|byte| !b" .0123456789".contains(&byte)).unwrap_or(0);
        if stamp > 0 && from.as_bytes().get(1 + stamp) == Some(&b']') {
            rest = from.find('\n').map_or("", |end| &from[end + 1..]);
        } else {
            out.push('[');
            rest = &from[1..];
        }
    }
    out + rest
}

fn answer_in(text: &str, number: u32) -> Option<Answer> {
    let mut unreadable = None;
    for (start, _) in text.match_indices(BEGIN) {
        let rest = &text[start + BEGIN.len()..];
        let Some(end) = rest.find(END) else { continue };
        let whole = &rest[..end];
        let halves = whole.split_once('|').filter(|(first, second)| first == second);
        let Some((said, _)) = halves else {
            unreadable = Some(Answer::Unreadable);
            continue;
        };
        let Some(said) = said.strip_prefix(number.to_string().as_str()) else { continue };
        let Some(said) = said.strip_prefix(' ') else { continue };
        if said == "bad" {
            // Behind a damaged line the same one may have been understood.
            unreadable = Some(Answer::Bad);
            continue;
        }
        let (status, output) = said.split_once(' ').unwrap_or((said, ""));
        if let Ok(status) = status.parse() {
            return Some(Answer::Done(status, output.to_owned()));
        }
    }
    unreadable
}

/// Whether a loop answers what is typed, one that an earlier dispatcher began.
pub(super) fn is_running(text: &str) -> bool {
    text.contains(BEGIN) && text.contains(" bad|")
}

const BEGIN: &str = "<P ";
const END: &str = " P>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_between_other_text() {
        let done = |output: &str| Some(Answer::Done(0, output.to_owned()));
        assert_eq!(answer("<P 12 0 a b|12 0 a b P>\n", 12), done("a b"));
        assert_eq!(answer("12 99 x\n[ 1.0] <P eth0 P> up\n<P 12 0 |12 0  P>", 12), done(""));
        assert_eq!(answer("<P 1 0 x|1 0 x P>", 12), None);
        assert_eq!(answer("<P 12 0 x|12 0", 12), None);
        assert_eq!(
            answer("<P 12 0[    3.141592] usb P> [1]\n x|12[ 4.0] b\n 0 x P>", 12),
            done("x")
        );
        assert_eq!(answer("<P 12 0usb 1-1\n x|12 0 x P>", 12), Some(Answer::Unreadable));
        assert_eq!(answer("<P 12 bad|12 bad P>", 12), Some(Answer::Bad));
        assert_eq!(
            answer("<P 12 bad|12 bad P>\n<P 12 1 |12 1  P>", 12),
            Some(Answer::Done(1, String::new()))
        );
    }

    #[test]
    fn the_definition_is_short_lines_without_what_a_terminal_takes_for_itself() {
        for check in Check::ALL {
            for line in definition(check).lines() {
                assert!(line.len() < 100, "{line}");
                assert!(line.bytes().all(
                    |byte| (b' '..=b'~').contains(&byte) && byte != b'!' || line.contains("!=")
                ));
            }
        }
    }
}
