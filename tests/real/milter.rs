//! A milter: the program that Postfix asks what it thinks of a client and of each of its commands
//! (Sendmail's protocol of version 6, as `libmilter/docs` and Postfix's `milter8.c` have it).
//!
//! It answers by the client's address: what a case says of its sources, and `continue` to all
//! others. Postfix hides some of the answers behind words of its own.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde::Deserialize;

/// What Postfix asks about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    Connect,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    EndOfData,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Reject,
    Tempfail,
    /// Closes on Postfix.
    Crash,
    /// Says nothing more until Postfix goes away.
    Hang,
    /// A reply in full: `521 5.2.1 :(CON:B1)`.
    #[serde(untagged)]
    Reply(String),
}

type Answers = Arc<Mutex<HashMap<IpAddr, BTreeMap<Event, Answer>>>>;

pub(crate) struct Milter(Answers);

impl Milter {
    /// Listens until the process ends.
    pub(crate) fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("milter at {address}: {error}"));
        let answers = Answers::default();
        let shared = Arc::clone(&answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answers = Arc::clone(&shared);
                thread::spawn(move || serve(stream?, &answers));
            }
        });
        Self(answers)
    }

    pub(crate) fn answer(&self, source: IpAddr, answers: BTreeMap<Event, Answer>) {
        self.0.lock().unwrap().insert(source, answers);
    }
}

/// One SMTP session, as Postfix tells of it.
fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    let mut client = None;
    loop {
        let (command, body) = receive(&mut stream)?;
        let event = match command {
            // The negotiation: this version, no changes to messages, every step wanted.
            b'O' => {
                send(&mut stream, b'O', &[0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0])?;
                continue;
            }
            // Macros and an abort are told, not asked.
            b'D' | b'A' => continue,
            b'Q' => return Ok(()),
            b'C' => {
                client = address(&body);
                Event::Connect
            }
            b'H' => Event::Ehlo,
            b'M' => Event::Mail,
            b'R' => Event::Rcpt,
            b'T' => Event::Data,
            b'E' => Event::EndOfData,
            // Headers, the body in pieces, commands that are none.
            _ => {
                send(&mut stream, b'c', &[])?;
                continue;
            }
        };
        let answer = client.and_then(|client| answers.lock().unwrap().get(&client)?.get(&event).cloned());
        match answer {
            None => send(&mut stream, b'c', &[])?,
            Some(Answer::Reject) => send(&mut stream, b'r', &[])?,
            Some(Answer::Tempfail) => send(&mut stream, b't', &[])?,
            Some(Answer::Reply(text)) => send(&mut stream, b'y', &[text.as_bytes(), b"\0"].concat())?,
            Some(Answer::Crash) => return Ok(()),
            Some(Answer::Hang) => return stream.read_to_end(&mut Vec::new()).map(drop),
        }
    }
}

/// Host name, family, port and address, each its own way (`milter8.c`, `milter8_conn_event`).
fn address(body: &[u8]) -> Option<IpAddr> {
    let name = body.iter().position(|&byte| byte == 0)?;
    let address = body.get(name + 4..)?.strip_suffix(b"\0")?;
    std::str::from_utf8(address).ok()?.parse().ok()
}

fn receive(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut packet = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut packet)?;
    let command = if packet.is_empty() { b'?' } else { packet.remove(0) };
    Ok((command, packet))
}

fn send(stream: &mut TcpStream, command: u8, body: &[u8]) -> io::Result<()> {
    let size = u32::try_from(body.len() + 1).expect("a reply is short");
    stream.write_all(&[&size.to_be_bytes()[..], &[command], body].concat())
}
