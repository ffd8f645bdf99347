//! Courier: its log and the transcript in its bounces.
//!
//! The log gives the reply alone; the bounce names the command. As with sendmail, `>>> DATA` stands
//! before the reply to the final dot too.

use super::log::{Entry, Recent, Taken};
use super::reply::collapse;
use super::sentence;
use super::wording::{self, by, field};
use crate::record::{Kind, Report};
use crate::smtp::reply::Class;
use crate::stage::Stage;

pub(crate) const NAME: &str = "courier";

/// What follows a recipient in a bounce: `H [IP]:`, `>>> CMD`, `<<< R`.
pub(crate) fn section(text: &str) -> Option<Report> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let received = lines.iter().position(|line| line.starts_with("<<<"))?;
    let mut report = by(NAME);
    for line in &lines[..received] {
        match line.strip_prefix(">>>") {
            Some(command) => report.stage = wording::command_stage(command),
            None if line.ends_with(':') => (report.mx, report.address) = wording::host_and_address(line),
            None => {}
        }
    }
    let reply: Vec<&str> = lines[received..].iter().map_while(|line| line.strip_prefix("<<<")).map(str::trim).collect();
    let reply = reply.join("\n");
    sentence::quote(&mut report, &reply);
    if report.code.is_none() {
        (report.enhanced, report.reply) = (None, None);
        report.kind = wording::fault(&reply);
        if report.kind == Some(Kind::Refused) {
            report.stage = Some(Stage::Connect);
        }
    }
    if report.stage == Some(Stage::Data) {
        let permanent = report.code.is_some_and(|code| code.class() == Class::Permanent);
        report.stage = permanent.then_some(Stage::EndOfData);
        report.candidates = vec![Stage::Data, Stage::EndOfData];
        report.stage_why = Some("Courier prints \">>> DATA\" for the final dot too".to_owned());
    }
    report.evidence = Some(collapse(&lines[..].join(" ")));
    Some(report)
}

/// What the log needs remembered: the lines of a reply until the status line.
#[derive(Default)]
pub(crate) struct Log {
    replies: Recent<(String, Option<Report>)>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        if !entry.program.starts_with("courier") {
            return Taken::No;
        }
        if !entry.program.starts_with("courieresmtp") {
            return Taken::Other;
        }
        let text = entry.text;
        let (Some(id), Some((head, told))) = (
            field(text, "id=", &[',']),
            text.split_once(">,")
                .and_then(|(_, rest)| rest.split_once("addr=<"))
                .and_then(|(_, rest)| rest.split_once('>')),
        ) else {
            return Taken::Other;
        };
        let key = format!("{id} {head}");
        if let Some(line) = told.strip_prefix(": ") {
            let (mut reply, _) = self.replies.take(&key).unwrap_or_default();
            if reply.len() < 16 * 1024 {
                reply.push_str(line);
                reply.push('\n');
            }
            let report = entry.stamp(Report { recipient: wording::mailbox(head), ..read(&reply) });
            self.replies.put(&key, (reply, Some(report)));
            return Taken::Other;
        }
        if let Some(host) = told.strip_prefix(",success: delivered: ") {
            let (mx, address) = wording::host_and_address(host);
            let report = Report { recipient: wording::mailbox(head), mx, address, ..wording::passed(NAME) };
            return Taken::passed(entry.stamp(report));
        }
        let Some(status) = told.strip_prefix(",status: ") else { return Taken::Other };
        let known = self.replies.take(&key).and_then(|(_, report)| report);
        if status.starts_with("success") {
            return Taken::Other;
        }
        Taken::errors(known.into_iter().collect())
    }

    pub(crate) fn end(&mut self) -> Vec<Report> {
        self.replies.drain().into_iter().filter_map(|(_, report)| report).filter(|r| r.kind.is_some()).collect()
    }
}

fn read(reply: &str) -> Report {
    let mut report = by(NAME);
    if reply.starts_with(['4', '5']) {
        sentence::quote(&mut report, reply);
    } else if !reply.starts_with(['2', '3']) {
        report.kind = wording::fault(reply);
        report.stage = match report.kind {
            Some(Kind::Refused | Kind::Unreachable) => Some(Stage::Connect),
            Some(Kind::DnsFailed) => Some(Stage::Resolve),
            _ => None,
        };
    }
    report.evidence = Some(collapse(reply));
    report
}
