//! What there is to tell.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::archive::NewNotice;
use crate::probe::alert::Receiver;
use crate::record::{self, Incident, IncidentChange, IncidentEvent};
use crate::visible::visible;
use crate::words::words;

/// One thing to tell one receiver: an incident as it stands, and what has happened to it.
///
/// Its JSON is what a webhook gets and a command reads, one object:
///
/// ```json
/// {"type":"notice","notice":"019ac5…","at":"2026-11-24T10:00:03.120Z","change":"opened",
///  "events":[{"at":"2026-11-24T10:00:02.000Z","event":"opened","detail":null}],"incident":{"id":12,"domain":"aol.com",…}}
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", rename = "notice", rename_all = "kebab-case")]
pub struct Notice {
    /// Its id, the same however often it is sent; no two notices share one.
    #[serde(rename = "notice")]
    pub id: String,
    /// When there was something to tell.
    pub at: Timestamp,
    pub change: Change,
    /// What has happened since the notice before, in the order of time.
    pub events: Vec<IncidentEvent>,
    pub incident: Incident,
}

words! {
    /// What a notice is about.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Change ("change") {
        Opened = "opened",
        /// Another diagnosis, another reply, back after a pause.
        Changed = "changed",
        Closed = "closed",
    }
}

impl Notice {
    /// What is to be told of an incident to which `events` happened; `None` where nothing did.
    #[must_use]
    pub fn of(incident: &Incident, events: &[IncidentEvent], at: Timestamp) -> Option<Self> {
        let happened = |change| events.iter().any(|event| event.event == change);
        let change = match events {
            [] => return None,
            _ if happened(IncidentChange::Closed) => Change::Closed,
            _ if happened(IncidentChange::Opened) => Change::Opened,
            _ => Change::Changed,
        };
        let id = uuid::Uuid::now_v7().to_string();
        Some(Self { id, at: record::stamp(at), change, events: events.to_vec(), incident: incident.clone() })
    }

    /// The same for each receiver, to be put on record with the incident.
    #[must_use]
    pub fn to(&self, receivers: &[Receiver]) -> Vec<NewNotice> {
        let entry = |receiver: &Receiver| NewNotice { receiver: receiver.key(), payload: serde_json::json!(self) };
        receivers.iter().map(entry).collect()
    }

    /// The notice in one line: what, where, since when.
    #[must_use]
    pub fn summary(&self) -> String {
        let Incident { id, domain, kind, confidence, .. } = &self.incident;
        short(&format!("{domain}: {kind} ({confidence}), incident {id} {}", self.change), 200)
    }

    /// What is known, a line each, made visible: what the network said cannot act on who reads it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Incident { opened, closed, sources, addresses, backends, stage, code, reply, .. } = &self.incident;
        let Incident { episodes, sessions, failed, because, ruled_out, advice, .. } = &self.incident;
        let mut lines = Vec::new();
        let mut say = |name: &str, text: String| lines.push(short(&format!("{name:<9} {text}"), 1000));
        let span = |between: &record::Between| match between.after {
            Some(after) => format!("between {after:.0} and {:.0}", between.by),
            None => format!("by {:.0}", between.by),
        };
        say("began", span(opened));
        if let Some(closed) = closed {
            say("ended", span(closed));
        }
        if *episodes > 1 {
            say("episodes", episodes.to_string());
        }
        let units = sources.iter().chain(addresses).map(ToString::to_string).chain(backends.iter().cloned());
        let units: Vec<String> = units.take(20).collect();
        say("who", if units.is_empty() { "the whole target".to_owned() } else { units.join(", ") });
        if let Some(stage) = stage {
            say("stage", code.map_or_else(|| stage.to_string(), |code| format!("{stage} ({code})")));
        }
        if let Some(reply) = reply {
            say("reply", format!("\"{reply}\""));
        }
        say("sessions", format!("{failed} of {sessions} failed"));
        for event in self.events.iter().take(20) {
            let detail = event.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            say("event", format!("{:.0} {}{detail}", event.at, event.event));
        }
        for (name, sentences) in [("because", because), ("not", ruled_out)] {
            for sentence in sentences.iter().take(20) {
                say(name, sentence.clone());
            }
        }
        if !advice.is_empty() {
            say("do", advice.clone());
        }
        lines
    }
}

/// At most so many characters, none of which acts on a terminal.
pub(super) fn short(text: &str, most: usize) -> String {
    let shown = visible(text);
    match shown.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &shown[..at]),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A notice of an incident about which the network says the worst it can.
    pub(in super::super) fn hostile(change: &str) -> Notice {
        let evil = "554 \r\nBcc: all@example.net\r\n\r\n<script>$(reboot)`x`\u{1b}]0;owned\u{7}\u{202e}";
        serde_json::from_value(serde_json::json!({
            "type": "notice", "notice": "019ac5f4-0000-7000-8000-000000000001", "at": "2026-11-24T10:00:03.120Z", "change": change,
            "events": [{"at": "2026-11-24T10:00:02Z", "event": "reply", "detail": evil}],
            "incident": {
                "id": 12, "domain": "aol.com", "kind": "receiver-outage", "confidence": "high",
                "opened": {"after": "2026-11-24T09:55:00Z", "by": "2026-11-24T10:00:00Z"},
                "closed": (change == "closed").then(|| serde_json::json!({"after": "2026-11-24T11:55:00Z", "by": "2026-11-24T12:00:00Z"})),
                "episodes": 2, "sources": [], "addresses": ["192.0.2.1"], "backends": [evil],
                "stage": "banner", "code": 554, "reply": evil, "sessions": 120, "failed": 118,
                "because": [evil.repeat(100)], "advice": "wait",
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_happened_decides_what_is_told() {
        let incident = hostile("opened").incident;
        let event = |event| IncidentEvent { at: Timestamp::UNIX_EPOCH, event, detail: None };
        for (events, want) in [
            (vec![], None),
            (vec![IncidentChange::Opened, IncidentChange::Reply], Some(Change::Opened)),
            (vec![IncidentChange::Episode], Some(Change::Changed)),
            (vec![IncidentChange::Kind, IncidentChange::Closed], Some(Change::Closed)),
        ] {
            let events: Vec<_> = events.into_iter().map(event).collect();
            let notice = Notice::of(&incident, &events, Timestamp::UNIX_EPOCH);
            assert_eq!(notice.map(|notice| notice.change), want, "{events:?}");
        }
    }

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        let notice = hostile("closed");
        let text = serde_json::to_string(&notice).unwrap();
        assert!(text.starts_with(r#"{"type":"notice","notice":"019ac5f4"#), "{text}");
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice);
    }

    #[test]
    fn nothing_in_what_is_shown_acts() {
        let notice = hostile("changed");
        for line in notice.lines().into_iter().chain([notice.summary()]) {
            assert!(line.chars().count() <= 1001, "{line}");
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    }
}
