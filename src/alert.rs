//! Telling people and programs of trouble that begins, changes and ends.
//!
//! A [`Notice`] is what there is to tell; [`Courier::hand_over`] tells it to one receiver; [`deliver`]
//! keeps at it until it is told. What the network said is data in all of them: never a header, a
//! word of a command line or markup.
//!
//! # Once, and what that means
//!
//! A notice is marked as delivered when its receiver has taken it, so a receiver that took it hears
//! of it no more. Whoever dies between the two does not know, and tells it again: a notice told twice
//! does less harm than one that is never told. For that case each carries a key that stays the
//! same, and by which its receiver can tell: to an Alertmanager the labels and the start make the
//! alert (a second copy changes nothing), a webhook finds the notice's id in `Idempotency-Key` and in
//! the body, a mail in its `Message-ID`, a command in `MXPROBE_INCIDENT_NOTICE`.

mod command;
mod courier;
mod deliver;
mod firing;
mod mail;
mod notice;
mod webhook;

pub use courier::{Courier, Pace, Undelivered};
pub use deliver::{Delivery, deliver};
pub use firing::{Audience, Firing};
pub use notice::{Change, Notice};
