//! The same session for swaks, as a command line: what to type where mxprobe is not at hand.

use std::collections::BTreeSet;

use crate::record::{Role, Session};
use crate::smtp::session::TlsLevel;
use crate::stage::Stage;

/// Gathers the commands of a run's cells, one each.
#[derive(Debug, Default)]
pub struct Commands {
    tls: TlsLevel,
    seen: BTreeSet<String>,
    lines: Vec<String>,
}

impl Commands {
    /// For sessions that use TLS in this way.
    #[must_use]
    pub fn new(tls: TlsLevel) -> Self {
        Self { tls, ..Self::default() }
    }

    /// Takes in a session, planned or held.
    pub fn add(&mut self, session: &Session) {
        if session.role != Role::Target {
            return;
        }
        let line = command(session, self.tls);
        self.lines.extend(line.filter(|line| self.seen.insert(line.clone())));
    }

    /// The commands, in the order of the cells.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// The command for one session's cell; none where there is no address to connect to.
#[must_use]
pub fn command(session: &Session, tls: TlsLevel) -> Option<String> {
    let address = session.address?;
    let mut words = vec!["swaks".to_owned(), "--server".to_owned(), address.to_string()];
    let mut say = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([flag.to_owned(), quoted(&value)]);
        }
    };
    say("--port", Some(session.port.to_string()));
    say("--local-interface", session.source.map(|source| source.to_string()));
    say("--helo", session.ehlo.clone());
    say("--from", session.from.clone());
    say("--to", session.to.clone().filter(|_| session.until >= Stage::Rcpt));
    let stop = match session.until {
        Stage::Resolve | Stage::Connect => Some("CONNECT"),
        Stage::Banner => Some("BANNER"),
        Stage::Ehlo => Some("FIRST-HELO"),
        Stage::StartTls | Stage::Tls => Some("TLS"),
        Stage::EhloTls | Stage::Auth => Some("HELO"),
        Stage::Mail => Some("MAIL"),
        Stage::Rcpt => Some("RCPT"),
        Stage::Data | Stage::EndOfData | Stage::Quit => None,
    };
    say("--quit-after", stop.map(str::to_owned));
    say("--drop-after", (session.until == Stage::Data).then(|| "DATA".to_owned()));
    if session.until > Stage::Ehlo {
        let flags: &[&str] = match tls {
            TlsLevel::Off => &[],
            // It knows no DANE.
            TlsLevel::Opportunistic | TlsLevel::Dane => &["-tlso"],
            TlsLevel::Require => &["-tls"],
            TlsLevel::Verify => &["-tls", "--tls-verify"],
        };
        words.extend(flags.iter().map(|&flag| flag.to_owned()));
    }
    Some(words.join(" "))
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_depth_has_its_command() {
        let base = "swaks --server 198.51.100.21 --port 25 --local-interface 192.0.2.10 --helo out1.example.net --from probe@example.net";
        for (until, tls, tail) in [
            ("connect", TlsLevel::Opportunistic, " --quit-after CONNECT"),
            ("banner", TlsLevel::Require, " --quit-after BANNER"),
            ("ehlo", TlsLevel::Opportunistic, " --quit-after FIRST-HELO"),
            ("tls", TlsLevel::Require, " --quit-after TLS -tls"),
            ("ehlo-tls", TlsLevel::Verify, " --quit-after HELO -tls --tls-verify"),
            ("mail", TlsLevel::Opportunistic, " --quit-after MAIL -tlso"),
            ("mail", TlsLevel::Off, " --quit-after MAIL"),
            ("rcpt", TlsLevel::Off, r" --to 'o'\''b$x@aol.com' --quit-after RCPT"),
            ("data", TlsLevel::Off, r" --to 'o'\''b$x@aol.com' --drop-after DATA"),
            ("end-of-data", TlsLevel::Off, r" --to 'o'\''b$x@aol.com'"),
        ] {
            let session = serde_json::from_value(serde_json::json!({
                "seq": 1, "at": "2026-11-24T10:02:11Z", "kind": "skipped", "until": until, "to": "o'b$x@aol.com",
                "address": "198.51.100.21", "source": "192.0.2.10", "ehlo": "out1.example.net", "from": "probe@example.net",
            }));
            let session: Session = session.unwrap();
            assert_eq!(command(&session, tls).unwrap(), format!("{base}{tail}"));
            let mut commands = Commands::new(tls);
            commands.add(&session);
            commands.add(&Session { seq: 2, attempt: 2, ..session });
            assert_eq!(commands.lines().len(), 1);
        }
    }
}
