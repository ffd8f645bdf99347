//! What a simulated exchanger answers where no dialog says otherwise: that of a server which takes
//! everything, in the order that RFC 5321, section 4.1.4 asks for.

use std::sync::Arc;

/// Where a conversation stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    asked: Verb,
    refused_all: bool,
    greeted: bool,
    mail: bool,
    rcpt: bool,
    tls: bool,
    body: bool,
    /// The reply line that is being said.
    saying: Vec<u8>,
}

/// What an exchanger is called and offers.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    pub(super) name: String,
    pub(super) extensions: Arc<[String]>,
    pub(super) starttls: bool,
    pub(super) queue_id: String,
}

/// A reply, and what follows it.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Say(String),
    /// Then the handshake.
    Upgrade(String),
    /// Then the close.
    Bye(String),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Verb {
    /// Nothing yet: the greeting answers the connection.
    #[default]
    Connect,
    Ehlo,
    Helo,
    StartTls,
    Mail,
    Rcpt,
    Data,
    /// The end of a message.
    Dot,
    Rset,
    Quit,
    Noop,
    Vrfy,
    Help,
    Other,
}

impl Verb {
    pub(super) fn of(line: &[u8]) -> Self {
        let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        match word.to_ascii_uppercase().as_slice() {
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"STARTTLS" => Self::StartTls,
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"RSET" => Self::Rset,
            b"QUIT" => Self::Quit,
            b"NOOP" => Self::Noop,
            b"VRFY" => Self::Vrfy,
            b"HELP" => Self::Help,
            b"." => Self::Dot,
            _ => Self::Other,
        }
    }
}

impl Standing {
    /// The reply line that is kept while it is not complete.
    const LINE: usize = 1000;

    /// The client said something.
    pub(super) fn heard(&mut self, verb: Verb) {
        self.asked = verb;
        self.body = false;
    }

    /// The server said something, by the dialog or by default.
    pub(super) fn said(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.saying);
                self.said_line(&line);
            } else if self.saying.len() < Self::LINE {
                self.saying.push(byte);
            }
        }
    }

    fn said_line(&mut self, line: &[u8]) {
        let &[class @ b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', ref rest @ ..] = line else { return };
        if rest.first() == Some(&b'-') {
            return;
        }
        match (self.asked, class) {
            (Verb::Connect, b'4' | b'5') => self.refused_all = true,
            (Verb::Ehlo | Verb::Helo, b'2') => {
                self.greeted = true;
                (self.mail, self.rcpt) = (false, false);
            }
            (Verb::Mail, b'2') => self.mail = true,
            (Verb::Rcpt, b'2') => self.rcpt = true,
            (Verb::Data, b'3') => self.body = true,
            (Verb::Dot, _) | (Verb::Rset, b'2') => (self.mail, self.rcpt) = (false, false),
            _ => {}
        }
    }

    /// Whether a message comes next.
    pub(super) const fn takes_message(&self) -> bool {
        self.body
    }

    /// A handshake succeeded: what was said before is forgotten (RFC 3207, section 4.2).
    pub(super) fn upgraded(&mut self) {
        *self = Self { tls: true, asked: Verb::StartTls, ..Self::default() };
    }

    /// What is answered to what was heard last.
    pub(super) fn answer(&self, manners: &Manners) -> Answer {
        let name = &manners.name;
        let offered = manners.starttls && !self.tls;
        let text = match self.asked {
            Verb::Quit => return Answer::Bye(format!("221 2.0.0 {name} closing connection\r\n")),
            _ if self.refused_all => "503 5.5.1 bad sequence of commands",
            Verb::Connect => return Answer::Say(format!("220 {name} ESMTP\r\n")),
            Verb::Ehlo => return Answer::Say(ehlo(manners, offered)),
            Verb::Helo => return Answer::Say(format!("250 {name}\r\n")),
            Verb::StartTls if offered => return Answer::Upgrade("220 2.0.0 ready to start TLS\r\n".to_owned()),
            Verb::StartTls => "503 5.5.1 TLS is not on offer",
            Verb::Mail if !self.greeted => "503 5.5.1 EHLO first",
            Verb::Mail if self.mail => "503 5.5.1 nested MAIL command",
            Verb::Mail => "250 2.1.0 sender ok",
            Verb::Rcpt if !self.mail => "503 5.5.1 MAIL first",
            Verb::Rcpt => "250 2.1.5 recipient ok",
            Verb::Data if !self.rcpt => "503 5.5.1 RCPT first",
            Verb::Data => "354 end data with <CR><LF>.<CR><LF>",
            Verb::Dot if self.rcpt => {
                return Answer::Say(format!("250 2.0.0 ok: queued as {}\r\n", manners.queue_id));
            }
            Verb::Rset | Verb::Noop => "250 2.0.0 ok",
            Verb::Vrfy => "252 2.5.2 cannot verify, send some mail",
            Verb::Help => "214 2.0.0 this provider is simulated",
            Verb::Dot | Verb::Other => "500 5.5.2 command not recognized",
        };
        Answer::Say(format!("{text}\r\n"))
    }
}

fn ehlo(manners: &Manners, offered: bool) -> String {
    let mut lines = vec![manners.name.as_str()];
    lines.extend(offered.then_some("STARTTLS"));
    lines.extend(manners.extensions.iter().map(String::as_str));
    let last = lines.pop().unwrap_or_default();
    let first = lines.iter().fold(String::new(), |text, line| text + "250-" + line + "\r\n");
    first + "250 " + last + "\r\n"
}
