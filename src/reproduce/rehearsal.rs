//! A reported error as a scenario to play and a probe to run against it, so that the people who
//! run an MTA can rehearse what theirs does when it meets the error.
//!
//! Both stay on loopback: the probe names the scenario's addresses and not the reported domain, so
//! that it can never go astray to the real one.

use std::fmt::Write as _;

use crate::address::Mailbox;
use crate::probe::HostSpec;
use crate::record::{Kind, Report};
use crate::smtp::dialog::escape;
use crate::smtp::reply::Class;
use crate::stage::Stage;
use crate::visible::visible;

/// The two files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rehearsal {
    /// What `mxprobe sim` serves.
    pub scenario: String,
    /// What `mxprobe run` expects of it.
    pub probe: String,
}

/// The port that the probe expects the scenario on.
pub const PORT: u16 = 2525;

/// A longer reply is cut: RFC 5321, section 4.5.3.1.5, allows 512 octets.
const LONGEST_REPLY: usize = 480;

/// Writes a report down as a scenario and a probe. `scenario` is the name of the first file.
///
/// # Errors
///
/// What of the report a provider on loopback cannot play, in words.
pub fn rehearsal(report: &Report, scenario: &str) -> Result<Rehearsal, String> {
    let part = Part::of(report)?;
    let host = |text: &str| matches!(text.parse(), Ok(HostSpec::Name(_)));
    let domain = report.domain.as_deref().filter(|text| host(text)).unwrap_or("provider.example");
    let exchanger =
        report.mx.as_deref().filter(|text| host(text)).map_or_else(|| format!("mx.{domain}"), str::to_owned);
    let exchanger = if host(&exchanger) { exchanger } else { "mx.provider.example".to_owned() };
    Ok(Rehearsal {
        scenario: part.scenario(report, scenario, domain, &exchanger),
        probe: part.probe(report, scenario, domain),
    })
}

/// What the provider plays.
struct Part {
    stage: Stage,
    kind: Kind,
    /// `554 5.7.1 no`, where it refuses.
    reply: Option<String>,
}

impl Part {
    fn of(report: &Report) -> Result<Self, String> {
        let first = report.candidates.first().copied();
        let stage = report.stage.or(first).unwrap_or(Stage::Mail);
        let reply = report.inner_reply.as_deref().or(report.reply.as_deref());
        let kind = report.kind.unwrap_or(Kind::Rejected);
        let no = |what: &str| Err(format!("report {}: {what} cannot be played on loopback", report.seq));
        match (kind, stage) {
            (Kind::Completed | Kind::Local | Kind::Skipped, _) => return no("what is no failure of the other side's"),
            (Kind::DnsFailed, _) | (_, Stage::Resolve) => return no("a name that does not resolve"),
            (Kind::Unreachable, _) | (Kind::TimedOut, Stage::Connect) => return no("a host that is not there"),
            (_, Stage::Auth | Stage::Quit) => return no(&format!("the stage {stage}")),
            _ => {}
        }
        let refuses = kind == Kind::Rejected && stage != Stage::Connect && stage != Stage::Tls;
        Ok(Self { stage, kind, reply: refuses.then(|| spoken(report, reply.unwrap_or("no reason given"))) })
    }

    fn scenario(&self, report: &Report, name: &str, domain: &str, exchanger: &str) -> String {
        let stage = self.stage;
        let what = report.reply.as_deref().unwrap_or(self.kind.as_str());
        let description = toml::Value::String(format!("as reported, at {stage}: {}", visible(clipped(what, 200))));
        let closed = if self.kind == Kind::Refused { "closed = [\"127.1.0.21\", \"127.1.0.22\"]\n" } else { "" };
        let mut text = format!(
            "# An error as it was reported, for rehearsal on loopback.\n#\n\
             #   mxprobe sim {name} --port {PORT}\n#\n\
             # Then send mail for {domain} to 127.1.0.21, port {PORT}, and see what your server makes of it.\n\n\
             description = {description}\n{closed}\n\
             [probe]\ntargets = [\"{domain}\"]\nsources = [\"127.0.0.11\"]\nuntil = \"{stage}\"\n\n\
             [domains.\"{domain}\"]\n\
             mx = [{{ preference = 10, host = \"{exchanger}\", addresses = [\"127.1.0.21\", \"127.1.0.22\"] }}]\n\n\
             [hosts]\n\"out1.example.net\" = \"127.0.0.11\"\n[ptr]\n\"127.0.0.11\" = \"out1.example.net\"\n"
        );
        if matches!(stage, Stage::StartTls | Stage::Tls | Stage::EhloTls) {
            text.push_str("\n[tls]\ncertificate = \"self-signed\"\n");
        }
        if closed.is_empty() {
            let dialog = literal(&self.dialog());
            let _ =
                write!(text, "\n[[rule]]\nbehaviour = \"as-reported\"\n\n[behaviour.as-reported]\ndialog = {dialog}\n");
        }
        text
    }

    /// The dialog: what leads to the stage, and what happens there.
    fn dialog(&self) -> String {
        let cue = match self.stage {
            Stage::Ehlo => "C: EHLO *\n",
            Stage::StartTls => "C: STARTTLS\n",
            Stage::Tls => "C: STARTTLS\nS: 220 go ahead\n",
            Stage::EhloTls => "C: STARTTLS\nS: 220 go ahead\nTLS\nC: EHLO *\n",
            Stage::Mail => "C: MAIL FROM:*\n",
            Stage::Rcpt => "C: RCPT TO:*\n",
            Stage::Data => "C: DATA\n",
            Stage::EndOfData => "C: .\n",
            _ => "",
        };
        let act = match (&self.reply, self.kind) {
            (Some(reply), _) => {
                // A 421 says that the connection is closed (RFC 5321, section 3.8).
                let close = if reply.starts_with("421") { "CLOSE\n" } else { "" };
                format!("S: {}\n{close}", escape(reply.as_bytes()))
            }
            (None, Kind::TimedOut) => "SILENCE\n".to_owned(),
            (None, Kind::Malformed) => "S: this is no reply\nCLOSE\n".to_owned(),
            (None, _) if self.stage == Stage::Tls => "TLS FAILS\n".to_owned(),
            (None, _) => "CLOSE\n".to_owned(),
        };
        format!("{cue}{act}")
    }

    fn probe(&self, report: &Report, scenario: &str, domain: &str) -> String {
        let stage = self.stage;
        let string = |text: &str| toml::Value::String(text.to_owned());
        let mut text = format!(
            "# Expects the error of {scenario}, while that is served:\n#\n\
             #   mxprobe sim {scenario} --port {PORT}\n\n\
             description = {}\n\n\
             [target]\nhosts = [\"127.1.0.21\", \"127.1.0.22\"]\nport = {PORT}\n\n\
             [source]\naddresses = [\"127.0.0.11\"]\nehlo = {{ \"127.0.0.11\" = \"out1.example.net\" }}\n",
            string(&format!("the error of report {}, rehearsed", report.seq)),
        );
        if stage >= Stage::Rcpt {
            let to = report.recipient.as_deref().filter(|to| to.parse::<Mailbox>().is_ok());
            let to = string(&to.map_or_else(|| format!("postmaster@{domain}"), str::to_owned));
            let _ = write!(text, "\n[envelope]\nto = {to}\nowned = [{to}]\n");
        }
        let _ = write!(text, "\n[session]\nuntil = \"{stage}\"\n");
        if stage == Stage::EndOfData {
            text.push_str("\n[message]\nsend = true\n");
        }
        let _ = write!(text, "\n[expect]\nstage = \"{stage}\"\n");
        if let Some(reply) = &self.reply {
            let words = crate::catalog::Words::parse(reply);
            if let Some(code) = words.code {
                let _ = writeln!(text, "code = {code}");
            }
            if let Some(enhanced) = words.enhanced {
                let _ = writeln!(text, "enhanced = \"{enhanced}\"");
            }
            if let Some(tag) = words.tag {
                let _ = writeln!(text, "tag = {}", string(tag));
            }
        }
        text
    }
}

/// The reply as a server says it: one line with a code, the reporting host's address as whoever asks.
fn spoken(report: &Report, reply: &str) -> String {
    let mut line: String = reply.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some(source) = report.quoted_source {
        line = line.replace(&source.to_string(), "{source}");
    }
    let code = line.get(..3).filter(|code| code.starts_with(['4', '5']) && code.bytes().all(|b| b.is_ascii_digit()));
    if code.is_none() || !matches!(line.as_bytes().get(3), None | Some(b' ')) {
        let permanent = report.class.is_none_or(|class| class == Class::Permanent);
        let code = match report.code {
            Some(code) if code.class().refuses() => code.to_string(),
            _ if report.stage == Some(Stage::Banner) => if permanent { "554" } else { "421" }.to_owned(),
            _ => if permanent { "550" } else { "451" }.to_owned(),
        };
        let text = line.strip_prefix(&code).unwrap_or(&line).trim_start_matches(['-', ' ']);
        line = format!("{code} {text}");
    }
    clipped(&line, LONGEST_REPLY).to_owned()
}

fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Several lines as TOML, readable where they allow it.
fn literal(text: &str) -> String {
    if text.contains("'''") { toml::Value::String(text.to_owned()).to_string() } else { format!("'''\n{text}'''") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::probe::file::ProbeFile;

    fn sound(report: &Report) -> Option<Rehearsal> {
        let written = rehearsal(report, "s.toml").ok()?;
        let file = ProbeFile::parse(Path::new("p.toml"), &written.probe).unwrap_or_else(|e| panic!("{}", e.render()));
        file.layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        toml::from_str::<toml::Table>(&written.scenario).unwrap_or_else(|e| panic!("{e}\n{}", written.scenario));
        Some(written)
    }

    #[test]
    fn what_cannot_be_played_is_said() {
        for (json, wanted) in [
            (r#"{"seq":4,"kind":"dns-failed"}"#, "a name that does not resolve"),
            (r#"{"seq":4,"kind":"timed-out","stage":"connect"}"#, "a host that is not there"),
            (r#"{"seq":4,"kind":"rejected","stage":"auth"}"#, "the stage auth"),
            (r#"{"seq":4,"kind":"local"}"#, "what is no failure of the other side's"),
        ] {
            let error = rehearsal(&serde_json::from_str(json).unwrap(), "s.toml").unwrap_err();
            assert_eq!(error, format!("report 4: {wanted} cannot be played on loopback"));
        }
    }

    #[test]
    fn the_client_in_a_reply_is_whoever_asks() {
        let json = r#"{"stage":"mail","kind":"rejected","quoted-source":"192.0.2.10","reply":"421 4.7.0 [TSS04] Messages from 192.0.2.10 deferred"}"#;
        let written = sound(&serde_json::from_str(json).unwrap()).unwrap();
        assert!(
            written.scenario.contains("S: 421 4.7.0 [TSS04] Messages from {source} deferred\nCLOSE\n"),
            "{}",
            written.scenario
        );
        assert!(written.probe.contains("tag = \"TSS04\""), "{}", written.probe);
    }

    proptest! {
        #[test]
        fn whatever_is_reported_makes_sound_files(
            reply in ".{0,600}",
            recipient in prop_oneof![Just("a@aol.com".to_owned()), ".{0,30}"],
            mx in prop_oneof![Just("mx.aol.com".to_owned()), ".{0,30}"],
            domain in prop_oneof![Just("aol.com".to_owned()), "[a-z0-9.-]{1,260}", ".{0,30}"],
            stage in prop::sample::select(Stage::ALL),
            kind in prop::sample::select(Kind::ALL),
        ) {
            let report = Report {
                reply: Some(reply), recipient: Some(recipient), mx: Some(mx), domain: Some(domain),
                stage: Some(stage), kind: Some(kind), ..Report::default()
            };
            sound(&report);
        }
    }
}
