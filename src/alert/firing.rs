//! Incidents that last, for receivers that forget.
//!
//! An Alertmanager takes an alert that nobody sends again for resolved, after a while that the
//! sender says; and it forgets all alerts when it is started anew. So alerts that fire are sent
//! again, as Prometheus does it, and say that they end a few minutes later. An end far ahead in
//! their place would keep an alert burning when mxprobe is gone, and lose it with a restart.

use super::notice::Notice;
use crate::probe::alert::{Receiver, Webhook};

/// Who is to be told, and what of.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The receivers of all probe files; no others are told anything.
    pub receivers: Vec<Receiver>,
    /// The incidents that last. An incident is taken out before its end is put on record, or it
    /// might be lit again behind its end.
    pub firing: Vec<Firing>,
}

/// An incident that lasts, and who knows of it.
#[derive(Clone, Debug)]
pub struct Firing {
    /// As it stands now.
    pub notice: Notice,
    /// The receivers of its probe.
    pub receivers: Vec<Receiver>,
}

impl Audience {
    /// The receiver of this key.
    #[must_use]
    pub fn receiver(&self, key: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.key() == key)
    }

    /// The receivers that forget.
    pub(super) fn forgetful(&self) -> impl Iterator<Item = (String, &Webhook)> {
        self.receivers.iter().filter_map(|receiver| match receiver {
            Receiver::Webhook(webhook) if webhook.is_alertmanager() => Some((receiver.key(), webhook)),
            _ => None,
        })
    }

    /// What burns for the receiver of this key.
    pub(super) fn burning(&self, key: &str) -> Vec<Notice> {
        let known = |firing: &&Firing| firing.receivers.iter().any(|receiver| receiver.key() == key);
        self.firing.iter().filter(known).map(|firing| firing.notice.clone()).collect()
    }
}
