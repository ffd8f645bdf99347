//! From a reported error to an answer: is it still there, and if not, at which rate would it have
//! shown?
//!
//! [`group`] puts reports together that say the same, [`question`] says what will be probed and
//! why not deeper, [`compare`] tells the same failure from another one, and [`Inquiry`] counts
//! until enough is known. [`rehearsal`] writes the error down as a scenario and a probe, [`swaks`]
//! as commands. All of it is pure: the run asks it as sessions end.

pub mod compare;
mod depth;
pub mod group;
mod inquiry;
pub mod question;
mod rate;
pub mod rehearsal;
pub mod swaks;
mod wording;

pub use inquiry::Inquiry;
pub use rate::interval;
