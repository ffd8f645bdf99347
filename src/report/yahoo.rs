//! Yahoo's failure notice: the shape of qmail's, with the command in brackets behind the reply.

use super::reply::Quoted;
use super::sentence;
use super::wording;
use crate::record::Report;
use crate::stage::Stage;

pub(crate) const NAME: &str = "yahoo";

/// `Remote host said: 501 5.1.8 Sender address rejected [MAIL_FROM]`, from behind `said`. Where no
/// sentence of qmail's goes before and no command behind, the stage is not stated.
pub(crate) fn remote_host_said(report: &mut Report, rest: &str) {
    let rest = rest.split("\n\n").next().unwrap_or(rest).trim_end();
    let (reply, stage) = match rest.rsplit_once('[') {
        Some((reply, word)) => match word.trim_end_matches(|c: char| !c.is_alphanumeric()) {
            "CONNECT" => (reply, Some(Stage::Banner)),
            "BODY" => (reply, Some(Stage::EndOfData)),
            word @ ("EHLO" | "HELO" | "MAIL_FROM" | "RCPT_TO" | "DATA" | "STARTTLS" | "AUTH") => {
                (reply, wording::command_stage(word))
            }
            _ => (rest, None),
        },
        None => (rest, None),
    };
    if stage.is_some() {
        report.mta = Some(NAME.to_owned());
        report.stage = stage;
    }
    if let Some(quoted) = Quoted::read(reply) {
        sentence::set(report, quoted);
    }
}
