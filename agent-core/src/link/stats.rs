//! What happened on the line, counted by cause.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident $label:literal;)*) => {
        /// Counters of one end of a line since it was made. They wrap never in practice (u64). A message carries them
        /// ([`Line`](crate::wire::response::Line)): new ones are appended, and none is ever removed.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Name and value of every counter, in the order of their declaration.
            pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit($label, self.$name);)*
            }

            /// What was counted since `earlier`, which was read from the same end.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
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
    /// Frames of another session, or of an earlier turn of this one's numbers.
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
    /// Bytes of whole frames, and zeros between frames. Every byte read is one of these, of `damaged_bytes` or of
    /// `console_bytes`, or waits for the end of its frame.
    frame_bytes "frame_bytes";
    /// Bytes of frames that turned out damaged, and what stood between them where it cannot be told apart.
    damaged_bytes "damaged_bytes";
    /// Beacons in an open session that were not the agent's: somebody prints a log of this line.
    stray_beacons "stray_beacons";
    /// Side lanes opened.
    lanes "lanes";
    /// Bytes read from side lanes; none of them is counted above.
    lane_bytes_in "lane_bytes_in";
    /// Bytes written to side lanes.
    lane_bytes_out "lane_bytes_out";
    /// Side lanes that this end gave up: nothing moved on them, or what came was no frame of the session.
    lane_faults "lane_faults";
    /// DATA frames that were on a side lane when it ended, and were sent again on the line.
    lane_repeats "lane_repeats";
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
