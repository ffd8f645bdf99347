//! What the counts come to, in the words of a `reproduction` line.

use super::Asked;
use crate::judge::statistics::{could_have_missed, float, sample_size};
use crate::probe::HostSpec;
use crate::record::{Finding, Reproduction};
use crate::reproduce::group::Group;
use crate::reproduce::rate::interval;
use crate::reproduce::wording::{counted, percent, whereabouts, without};
use crate::stage::Stage;

impl Asked {
    /// The answer to the question.
    pub(super) fn result(&self) -> Reproduction {
        let (seen, question) = (&self.seen, &self.question);
        let (result, because) = self.finding();
        let tried = self.tried();
        let (rate_low, rate_high) = interval(seen.same, tried, self.confirmed());
        let detectable = (seen.same == 0 && tried > 0).then(|| could_have_missed(tried).max(question.rate));
        let mut others: Vec<_> = seen.others.iter().collect();
        others.sort_by(|a, b| b.1.cmp(a.1));
        Reproduction {
            report: question.group.report.seq,
            reports: question.group.reports,
            result,
            sessions: seen.trials(),
            same: seen.same,
            different: seen.different,
            rate_low,
            rate_high,
            detectable_rate: detectable,
            not_tested: self.not_tested(),
            sources: seen.sources.iter().copied().collect(),
            domain: question.domain.as_ref().map(ToString::to_string),
            stage: question.group.report.stage,
            until: Some(question.until),
            plan: self.plan(),
            addresses: seen.addresses.iter().copied().collect(),
            others: others.into_iter().map(|(what, count)| format!("{what} ({count})")).collect(),
            because,
            control: None,
            mail: whereabouts(&question.group.report),
            next: self.next(result),
        }
    }

    fn plan(&self) -> Vec<String> {
        let (question, planned) = (&self.question, &self.planned);
        let until = question.until;
        let addresses = counted(planned.addresses.len() as u64, "address");
        let turn = if planned.addresses.len() > 1 { ", in turn" } else { "" };
        let sessions = counted(planned.sessions, "session");
        let mut plan = vec![format!("{sessions} up to {until} at {addresses}{turn}: {}", without(until))];
        if planned.windows > 1 {
            plan.push(format!("in {} windows", planned.windows));
        }
        if question.reported_source {
            plan.push("from the reported source, which is on this host".to_owned());
        }
        if let (Some(wanted), Some(short)) = (question.depth.wanted, &question.depth.short) {
            plan.push(format!("{wanted} is not reachable at this depth: {short}"));
        }
        plan
    }

    fn not_tested(&self) -> Vec<String> {
        let (question, planned, seen) = (&self.question, &self.planned, &self.seen);
        let mut not_tested = Vec::new();
        match (question.depth.wanted, &question.depth.short) {
            (Some(wanted), Some(short)) => not_tested.push(format!("{wanted}: {short}")),
            (None, _) if question.until < Stage::EndOfData => {
                not_tested
                    .push(format!("what comes after {}: the report does not say where it was refused", question.until));
            }
            _ if question.until < Stage::Mail => {
                not_tested.push("mail and later, where many refuse today: --until mail".to_owned());
            }
            _ => {}
        }
        not_tested.extend(question.left_aside.iter().cloned());
        let there = |host: &str| match host.parse() {
            Ok(HostSpec::Address(ip)) => planned.addresses.contains(&ip),
            _ => planned.names.contains(&host.to_ascii_lowercase()),
        };
        let gone: Vec<&str> =
            question.group.hosts.iter().map(String::as_str).filter(|host| !there(host)).take(4).collect();
        if !gone.is_empty() && question.layer.hosts.is_empty() {
            let set = "reported, and not among the exchangers of today (--host probes it all the same)";
            not_tested.push(format!("{}: {set}", gone.join(", ")));
        }
        if !self.confirmed() {
            not_tested.extend(planned.left_out.iter().take(4).cloned());
        }
        let held = seen.trials() > 0;
        not_tested
            .extend(seen.silent.iter().filter(|_| held).take(4).map(|(why, count)| format!("{count} times: {why}")));
        not_tested.push("other sources, and the load and the hour of the original".to_owned());
        not_tested
    }

    fn next(&self, result: Finding) -> Vec<String> {
        let tried = self.tried();
        match result {
            Finding::NotReproduced => {
                let rate = if self.question.rate > 0.01 { 0.01 } else { self.question.rate / 10.0 };
                let missed = (1.0 - rate).powf(float(tried)) * 100.0;
                let (size, rate) = (sample_size(rate), percent(rate));
                vec![
                    format!(
                        "a failure at {rate} % of sessions is missed by {missed:.0} in 100 such samples: --rate-to-exclude {rate}% takes {size} sessions"
                    ),
                    "mxprobe import on the sender's logs: more data, no probing".to_owned(),
                ]
            }
            Finding::Undecided if self.seen.rested => vec!["again when the rest is over".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// The answer to a question that is not asked.
pub(super) fn unasked((group, why): &(Group, String)) -> Reproduction {
    Reproduction {
        report: group.report.seq,
        reports: group.reports,
        result: Finding::Undecided,
        sessions: 0,
        same: 0,
        different: 0,
        rate_low: 0.0,
        rate_high: 1.0,
        detectable_rate: None,
        not_tested: Vec::new(),
        sources: Vec::new(),
        domain: group.report.domain.clone(),
        stage: group.report.stage,
        until: None,
        plan: Vec::new(),
        addresses: Vec::new(),
        others: Vec::new(),
        because: Some(why.clone()),
        control: None,
        mail: whereabouts(&group.report),
        next: Vec::new(),
    }
}
