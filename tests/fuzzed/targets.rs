//! What must hold whatever the bytes are, one function for each reader of bytes from outside.
//!
//! The fuzzers under `fuzz/` run these over what they make up, `tests/fuzzed.rs` over the seeds, over
//! everything that ever failed, and over a few thousand inputs that proptest makes of them.

mod decoder;
mod dialog;
mod files;
mod judge;
mod policy;
mod recording;
mod reports;
mod session;
mod tape;

pub use decoder::decoder;
pub use dialog::dialog;
pub use files::{probe_file, scenario};
pub use judge::judge;
pub use policy::policy;
pub use recording::recording;
pub use reports::{import, reports};
pub use session::session;

/// A reader of bytes from outside: its name, and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 10] = [
    ("decoder", decoder),
    ("session", session),
    ("dialog", dialog),
    ("scenario", scenario),
    ("probe-file", probe_file),
    ("reports", reports),
    ("import", import),
    ("recording", recording),
    ("judge", judge),
    ("policy", policy),
];

/// Whether a text obeys nobody: no control character but a line end.
fn is_tame(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !c.is_control())
}
