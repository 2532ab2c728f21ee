//! What LAVA's users bring along, as files of ours: their jobs and their devices.
//!
//! Pure: texts in, texts out, and a report on every key. Facts about the formats: LAVA 2023.01, `lava_common/schemas`
//! for jobs of version 2; for those of 2012 `lava_dispatcher/job.py` of that time.

pub mod device;
pub mod import;
mod output;
pub mod report;
mod tree;
mod v1;
mod v2;
