//! Which options both ends agree on (RFC 855), without loops: the method of RFC 1143, without its queue, since this
//! end never changes its mind.

/// Bytes pass as they are (RFC 856).
pub(super) const BINARY: u8 = 0;
/// The far end shows what is typed (RFC 857).
pub(super) const ECHO: u8 = 1;
/// No end waits for a "go ahead" (RFC 858).
pub(super) const SUPPRESS_GO_AHEAD: u8 = 3;
/// A serial line's settings (RFC 2217).
pub(super) const COM_PORT: u8 = 44;

pub(super) const IAC: u8 = 255;
pub(super) const DONT: u8 = 254;
pub(super) const DO: u8 = 253;
pub(super) const WONT: u8 = 252;
pub(super) const WILL: u8 = 251;

/// What one end does of an option, as far as the other end has agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Off, and it stays so whatever the other end asks for.
    Never,
    /// Off, until the other end asks for it.
    Off,
    /// Asked for, and not answered.
    Asked,
    On,
}

/// All options that are not refused: a code, what this end does, what the other end does.
#[derive(Clone, Debug)]
pub(super) struct Options {
    table: [(u8, Side, Side); 4],
}

impl Options {
    /// With the offers of this end, which are added to `out`.
    pub(super) fn ask(has_com_port: bool, out: &mut Vec<u8>) -> Self {
        // The far end shows what is typed, or nobody does: this end must never send back what the board says.
        let com_port =
            if has_com_port { (Side::Asked, Side::Off) } else { (Side::Never, Side::Never) };
        let table = [
            (BINARY, Side::Asked, Side::Asked),
            (SUPPRESS_GO_AHEAD, Side::Asked, Side::Asked),
            (ECHO, Side::Never, Side::Off),
            (COM_PORT, com_port.0, com_port.1),
        ];
        for (code, own, far) in table {
            for (side, verb) in [(own, WILL), (far, DO)] {
                if side == Side::Asked {
                    out.extend([IAC, verb, code]);
                }
            }
        }
        Self { table }
    }

    /// The other end said `verb`; what is to be answered.
    pub(super) fn hear(&mut self, verb: u8, code: u8) -> Option<[u8; 3]> {
        let (is_wish, [yes, no]) = match verb {
            DO | DONT => (verb == DO, [WILL, WONT]),
            _ => (verb == WILL, [DO, DONT]),
        };
        let mut refused = Side::Never;
        let side = match self.table.iter_mut().find(|(known, ..)| *known == code) {
            Some((_, own, _)) if matches!(verb, DO | DONT) => own,
            Some((_, _, far)) => far,
            None => &mut refused,
        };
        let answer = match (*side, is_wish) {
            (Side::Never, true) => Some(no),
            (Side::Off, true) => Some(yes),
            (Side::On, false) => Some(no),
            // It is so already, or this is itself an answer.
            _ => None,
        };
        *side = match (*side, is_wish) {
            (Side::Never, _) => Side::Never,
            (_, true) => Side::On,
            (_, false) => Side::Off,
        };
        answer.map(|verb| [IAC, verb, code])
    }

    /// Whether this end does an option.
    pub(super) fn is_own(&self, code: u8) -> bool {
        self.sides(code).0 == Side::On
    }

    /// Whether the other end does.
    pub(super) fn is_far(&self, code: u8) -> bool {
        self.sides(code).1 == Side::On
    }

    /// Whether an offer about this option waits for its answer.
    pub(super) fn is_open(&self, code: u8) -> bool {
        let (own, far) = self.sides(code);
        own == Side::Asked || far == Side::Asked
    }

    fn sides(&self, code: u8) -> (Side, Side) {
        let found = self.table.iter().find(|(known, ..)| *known == code);
        found.map_or((Side::Never, Side::Never), |(_, own, far)| (*own, *far))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer() {
        for (heard, answers) in [
            // Agreed, and not answered again.
            (&[(DO, BINARY), (DO, BINARY)][..], &[None, None][..]),
            // Refused offers stay off without a word, and may be asked for later.
            (&[(DONT, BINARY), (DONT, BINARY), (DO, BINARY)], &[None, None, Some(WILL)]),
            // What is on goes off with an answer.
            (&[(WILL, BINARY), (WONT, BINARY), (WONT, BINARY)], &[None, Some(DONT), None]),
            // The far end may echo, this one never does.
            (&[(WILL, ECHO), (WILL, ECHO)], &[Some(DO), None]),
            (&[(DO, ECHO), (DONT, ECHO)], &[Some(WONT), None]),
            // Terminal type, window size, and an end that claims another's option.
            (&[(DO, 24), (DO, 31), (WILL, COM_PORT)], &[Some(WONT), Some(WONT), Some(DONT)]),
        ] {
            let mut options = Options::ask(false, &mut Vec::new());
            let told: Vec<Option<u8>> = heard
                .iter()
                .map(|(verb, code)| options.hear(*verb, *code).map(|answer| answer[1]))
                .collect();
            assert_eq!(told, answers, "{heard:?}");
        }
    }

    #[test]
    fn two_such_ends_come_to_rest_agreed() {
        let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
        let mut a = Options::ask(true, &mut to_b);
        let mut b = Options::ask(true, &mut to_a);
        for _ in 0..4 {
            let (for_a, for_b) = (std::mem::take(&mut to_a), std::mem::take(&mut to_b));
            to_b.extend(for_a.chunks(3).filter_map(|said| a.hear(said[1], said[2])).flatten());
            to_a.extend(for_b.chunks(3).filter_map(|said| b.hear(said[1], said[2])).flatten());
        }
        assert!(to_a.is_empty() && to_b.is_empty(), "no loop");
        for options in [&a, &b] {
            assert!(options.is_own(BINARY) && options.is_far(BINARY) && !options.is_open(BINARY));
        }
    }
}
