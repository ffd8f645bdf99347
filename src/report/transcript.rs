//! A session written down line by line: which reply answers which command.
//!
//! Several programs print the dialog, each with its own arrows. Commands may be pipelined, so replies
//! are matched to commands in order, and a break belongs to the first command without a reply.

use std::collections::VecDeque;

use super::reply::Quoted;
use super::sentence;
use super::wording;
use crate::record::{Kind, Report};
use crate::stage::Stage;

/// One line of a transcript.
pub(crate) enum Said<'a> {
    /// What the client sent.
    Sent(&'a str),
    /// What the server answered.
    Received(&'a str),
    /// What the program that wrote the transcript says: the connection broke.
    Broke(Kind),
}

/// Reads the ending of one session: its first refusal, or where it broke.
pub(crate) fn ending<'a>(mta: &str, said: impl Iterator<Item = Said<'a>>) -> Option<Report> {
    // The greeting answers the connection itself.
    let mut waiting: VecDeque<Stage> = VecDeque::from([Stage::Banner]);
    let (mut in_body, mut tls) = (false, false);
    let mut recipients = Vec::new();
    let mut reply = String::new();
    let mut refused: Option<Report> = None;
    for line in said {
        match line {
            Said::Sent(text) if in_body => {
                if text.trim() == "." {
                    in_body = false;
                }
            }
            Said::Sent(text) => {
                let Some(stage) =
                    wording::command_stage(text).or_else(|| (text.trim() == ".").then_some(Stage::EndOfData))
                else {
                    continue;
                };
                if stage == Stage::Rcpt {
                    recipients.extend(
                        text.split_once(':').and_then(|(_, to)| wording::mailbox(to.split('>').next().unwrap_or(to))),
                    );
                }
                let stage = if stage == Stage::Ehlo && tls { Stage::EhloTls } else { stage };
                waiting.push_back(stage);
            }
            Said::Received(text) => {
                let text = text.trim();
                let Some(quoted) = Quoted::read(text) else { continue };
                if !reply.is_empty() {
                    reply.push('\n');
                }
                reply.push_str(text);
                if text[3.min(text.len())..].starts_with('-') {
                    continue;
                }
                let whole = Quoted::read(&std::mem::take(&mut reply)).unwrap_or(quoted);
                let Some(code) = whole.code else { continue };
                let stage = waiting.pop_front();
                match code.get() {
                    354 => {
                        in_body = true;
                        waiting.push_back(Stage::EndOfData);
                    }
                    220 if stage == Some(Stage::StartTls) => tls = true,
                    400.. if stage != Some(Stage::Quit) => {
                        let mut report = Report { stage, kind: Some(Kind::Rejected), ..wording::by(mta) };
                        sentence::set(&mut report, whole);
                        // A HELO after a refused EHLO, or another recipient: the later word counts.
                        if refused
                            .as_ref()
                            .is_none_or(|earlier| earlier.stage <= stage && stage <= Some(Stage::EhloTls))
                        {
                            refused = Some(report);
                        }
                    }
                    _ if stage == Some(Stage::Ehlo) => refused = None,
                    _ => {}
                }
            }
            Said::Broke(kind) => {
                if refused.is_none() {
                    let stage = waiting.front().copied();
                    refused = Some(Report { stage, kind: Some(kind), ..wording::by(mta) });
                }
            }
        }
    }
    let mut report = refused?;
    if let [recipient] = recipients.as_slice() {
        report.recipient = Some(recipient.clone());
    }
    Some(report)
}
