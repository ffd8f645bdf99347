//! A notice by mail, through a relay, over the same session that probes.

use std::net::IpAddr;
use std::sync::Arc;

use mail_builder::MessageBuilder;
use mail_builder::headers::raw::Raw;
use tokio::sync::watch;
use tokio::time::Instant;

use super::courier::{Courier, Undelivered};
use super::notice::{Notice, short};
use crate::address::{EhloName, Mailbox, Sender};
use crate::drive::{Turns, drive};
use crate::probe::HostSpec;
use crate::probe::alert::Mail;
use crate::run::Connection;
use crate::smtp::session::{Answer, Learned, Script, Session, TlsLevel};
use crate::stage::Stage;
use crate::timeouts::Timeouts;

/// Sends the mail. It is delivered when the relay answers the final dot with a 250.
pub(super) async fn send(mail: &Mail, notice: &Notice, courier: &Courier) -> Result<(), Undelivered> {
    let from = match &mail.from {
        Some(from) => from.clone(),
        None => default_sender(courier)?,
    };
    let message = message(mail, &from, notice, courier);
    let stream = courier.reach(&mail.relay.host, mail.relay.port).await?;
    let name = match &mail.relay.host {
        HostSpec::Name(name) => Some(name.clone()),
        HostSpec::Address(_) => None,
    };
    let script = Script {
        ehlo: ehlo(courier, stream.local_addr().map(|local| local.ip())),
        // A relay is often known by an address, or has a certificate of its own making.
        tls: TlsLevel::Opportunistic,
        from: Sender::Mailbox(from),
        to: Some(mail.to.clone()),
        message: message.into(),
        until: Stage::EndOfData,
        timeouts: Arc::new(Timeouts::all(courier.pace.patience / 3)),
    };
    let mut line = Connection::new(stream, name, courier.trust.clone());
    // Nobody stops it: it stops by itself soon.
    let (_running, cancel) = watch::channel(false);
    let session = Session::new(script, Instant::now().into());
    verdict(&drive(session, &mut line, &Turns::default(), cancel, None).await)
}

fn default_sender(courier: &Courier) -> Result<Mailbox, Undelivered> {
    let text = format!("mxprobe@{}", courier.name);
    text.parse().map_err(|e| Undelivered::Later(format!("{e}; `from` gives another sender")))
}

/// This host's name where it is a full one, else its address.
fn ehlo(courier: &Courier, local: Option<IpAddr>) -> EhloName {
    match local {
        Some(ip) if !courier.name.as_str().contains('.') => EhloName::Literal(ip),
        _ => EhloName::Name(courier.name.clone()),
    }
}

fn verdict(learned: &Learned) -> Result<(), Undelivered> {
    let Some(last) = learned.steps.iter().find(|step| !step.passed || step.stage == Stage::EndOfData) else {
        return Err(Undelivered::Later("the relay took leave before the message".to_owned()));
    };
    let why = match &last.answer {
        Answer::Reply(_) if last.passed => return Ok(()),
        Answer::Reply(reply) => {
            let text = reply.lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join(" ");
            format!("the relay said {} at {}: {}", reply.code, last.stage, short(&text, 200))
        }
        Answer::Fault(fault) => format!("at {}: {}", last.stage, short(&fault.to_string(), 200)),
        Answer::Established => format!("the session went no further than {}", last.stage),
    };
    Err(Undelivered::Later(why))
}

/// The message (RFC 5322). Its headers hold nothing that the network said; its body holds it
/// made visible, under a heading of ours.
fn message(mail: &Mail, from: &Mailbox, notice: &Notice, courier: &Courier) -> Vec<u8> {
    let Courier { name, page, .. } = courier;
    let page = page.as_ref().map(|page| format!("\n{page}\n")).unwrap_or_default();
    let foot = format!("-- \nmxprobe on {name}; notice {}", notice.id);
    let text = format!("{}\n\n{}\n{page}\n{foot}\n", notice.summary(), notice.lines().join("\n"));
    // Mails about one incident refer to the same id, which makes a thread of them.
    let thread = format!("incident.{}.{}@{name}", notice.incident.id, notice.incident.opened.by.as_millisecond());
    let built = MessageBuilder::new()
        .date(notice.at.as_second())
        .from(("mxprobe".to_owned(), from.to_string()))
        .to(mail.to.to_string())
        .message_id(format!("{}@{name}", id(notice)))
        .references(thread)
        .subject(format!("mxprobe: {}", notice.summary()))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .text_body(text)
        .write_to_vec();
    // A Vec takes everything that is written to it.
    built.unwrap_or_default()
}

/// The notice's id as it may stand in a Message-ID: it was read from a store.
fn id(notice: &Notice) -> String {
    notice.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::tests::hostile;
    use crate::probe::alert::Relay;

    #[test]
    fn the_headers_hold_nothing_that_the_network_said() {
        let courier = Courier::for_tests("probe.example");
        let mail = Mail { to: "ops@example.net".parse().unwrap(), relay: Relay::default(), from: None };
        let from = default_sender(&courier).unwrap();
        let text = String::from_utf8(message(&mail, &from, &hostile("opened"), &courier)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for (name, want) in [
            ("From", "\"mxprobe\" <mxprobe@probe.example>"),
            ("To", "<ops@example.net>"),
            ("Subject", "mxprobe: aol.com: receiver-outage (high), incident 12 opened"),
            ("Message-ID", "<019ac5f4-0000-7000-8000-000000000001@probe.example>"),
            ("References", "<incident.12.1763978400000@probe.example>"),
            ("Date", "Mon, 24 Nov 2025"),
            ("Auto-Submitted", "auto-generated"),
        ] {
            let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
            let found = unfolded.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            let want = if name == "References" || name == "Date" { None } else { Some(want) };
            assert!(found.is_some() && want.is_none_or(|want| found == Some(want)), "{name}: {found:?} in\n{head}");
        }
        assert!(!head.contains("Bcc") && !head.contains("script") && !head.contains("554"), "{head}");
        assert!(!body.contains('\u{1b}') && !body.contains("\nBcc:"), "{body}");
        assert_eq!(text.matches("\r\n\r\n").count(), body.matches("\r\n\r\n").count() + 1);
    }
}
