//! What happened on the line, counted by cause.

use core::fmt;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident $label:literal;)*) => {
        /// Counters of one end of a line since it was made. They wrap never in practice (u64).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Name and value of every counter, in the order of their declaration.
            pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit($label, self.$name);)*
            }
        }
    };
}

stats! {
    /// Bytes read from the line.
    bytes_in "bytes_in";
    /// Bytes written to the line.
    bytes_out "bytes_out";
    /// Frames read that were whole and for this end.
    frames_in "frames_in";
    /// Frames written, those sent again included.
    frames_out "frames_out";
    /// Bytes that belong to no frame: console text.
    console_bytes "console_bytes";
    /// Frames with a wrong check value or structure.
    damaged_frames "damaged_frames";
    /// Bytes between frame marks that were longer than any frame.
    overlong "overlong";
    /// Frames of our own direction: somebody echoes, nobody is in raw mode.
    echoes "echoes";
    /// Frames of another session.
    stale "stale";
    /// Frames of a kind or major version that this version does not know.
    unknown "unknown";
    /// DATA frames that had arrived before.
    duplicates "duplicates";
    /// DATA frames sent again, for whatever reason.
    retransmits "retransmits";
    /// How often nothing was heard for so long that a DATA frame was sent again to ask.
    probes "probes";
    /// Bytes of streams that nobody had opened (any more).
    unclaimed_bytes "unclaimed_bytes";
    /// Sessions opened.
    sessions "sessions";
    /// Beacons seen or sent.
    beacons "beacons";
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        let mut first = true;
        self.each(|name, value| {
            if value != 0 && result.is_ok() {
                result = write!(f, "{}{name} {value}", if first { "" } else { ", " });
                first = false;
            }
        });
        result
    }
}
