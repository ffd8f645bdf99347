//! The tables of a probe file, in the order in which the manual shows them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::values::{Clean, Failing, Ip, Line, OneOrMore, Pause, Period, Read, Share, Stop, Whole};
use crate::address::{EhloName, Host, Mailbox, Sender};
use crate::limits::Rate;
use crate::probe::alert::{Alert, Mail, Receiver, Relay, Webhook};
use crate::probe::conflict::Setting;
use crate::probe::layer::{GateLayer, LimitsLayer, ProbeLayer};
use crate::probe::{Dkim, Expect, HostSpec, Schedule};
use crate::record::CheckName;
use crate::schedule::{Cron, When};
use crate::smtp::reply::{Code, Enhanced};
use crate::smtp::session::TlsLevel;
use crate::source::SourceSpec;
use crate::stage::Stage;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[derive(Default)]
pub(super) struct Document {
    description: Option<Read<Line>>,
    target: TargetTable,
    source: SourceTable,
    envelope: EnvelopeTable,
    session: SessionTable,
    message: MessageTable,
    preflight: PreflightTable,
    gate: GateTable,
    limits: LimitsTable,
    schedule: Option<Spanned<ScheduleTable>>,
    expect: Option<ExpectTable>,
    alert: Option<Spanned<AlertTable>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct TargetTable {
    domain: Option<Spanned<Read<Host>>>,
    hosts: Option<Spanned<OneOrMore<HostSpec>>>,
    control: Vec<Read<Host>>,
    port: Option<Whole<65_535>>,
    own_mx: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct SourceTable {
    addresses: Vec<Read<SourceSpec>>,
    neutral: Vec<Read<Ip>>,
    ehlo: BTreeMap<Read<Ip>, Read<EhloName>>,
    public: BTreeMap<Read<Ip>, Read<Ip>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct EnvelopeTable {
    from: Option<Read<Sender>>,
    neutral: Option<Read<Sender>>,
    to: Option<Spanned<OneOrMore<Mailbox>>>,
    owned: Vec<Read<Mailbox>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct SessionTable {
    until: Option<Spanned<Read<Stop>>>,
    tls: Option<Read<TlsLevel>>,
    timeout: BTreeMap<Stage, Read<Period>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct MessageTable {
    body: Option<Spanned<PathBuf>>,
    send: Option<Spanned<bool>>,
    dkim: Option<DkimTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DkimTable {
    domain: Read<Host>,
    selector: Read<Host>,
    key: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct PreflightTable {
    dnsbl: Vec<Read<Host>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct GateTable {
    min_go: Option<Whole<1_000_000>>,
    max_transient: Option<Read<Share>>,
    warn: Vec<Read<CheckName>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct LimitsTable {
    attempts: Option<Whole<1_000_000>>,
    pace: Option<Read<Pause>>,
    per_address: Option<Whole<10_000>>,
    per_provider: Option<Whole<10_000>>,
    rate: Option<Read<Rate>>,
    per_hour: Option<Whole<1_000_000>>,
    per_day: Option<Whole<10_000_000>>,
    max_time: Option<Read<Period>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct ScheduleTable {
    every: Option<Read<Period>>,
    cron: Option<Read<Cron>>,
    round: Option<Round>,
    jitter: Option<Read<Pause>>,
}

/// What a round of a watch covers: one address per source, in turn, or the whole matrix.
#[derive(Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Round {
    Rotate,
    Full,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExpectTable {
    stage: Option<Spanned<Stage>>,
    code: Option<Code>,
    enhanced: Option<Enhanced>,
    tag: Option<Read<Line>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AlertTable {
    after: Option<Read<Failing>>,
    clear: Option<Read<Clean>>,
    webhook: Option<OneOrMore<Webhook>>,
    #[serde(default)]
    command: Vec<Read<Line>>,
    mail: Option<OneOrMore<Mailbox>>,
    relay: Option<Spanned<Read<Relay>>>,
    from: Option<Spanned<Read<Mailbox>>>,
}

/// Where in the text, and what is wrong there.
pub(super) struct Wrong {
    pub(super) place: Range<usize>,
    pub(super) message: String,
}

/// What a file holds.
pub(super) struct Parts {
    pub(super) layer: ProbeLayer,
    pub(super) schedule: Option<Schedule>,
    pub(super) alert: Option<Alert>,
    /// Where the settings stand that can be at odds with others.
    pub(super) places: BTreeMap<Setting, Range<usize>>,
}

impl Document {
    pub(super) fn read(self, directory: &Path) -> Result<Parts, Wrong> {
        let Self {
            description,
            target,
            source,
            envelope,
            session,
            message,
            preflight,
            gate,
            limits,
            schedule,
            expect,
            alert,
        } = self;
        if let (Some(domain), Some(_)) = (&target.domain, &target.hosts) {
            let message = "`domain` beside `hosts`: wanted one of the two".to_owned();
            return Err(Wrong { place: domain.span(), message });
        }
        let places = [
            (Setting::Domain, target.domain.as_ref().map(Spanned::span)),
            (Setting::Hosts, target.hosts.as_ref().map(Spanned::span)),
            (Setting::Expect, expect.as_ref().and_then(|expect| expect.stage.as_ref()).map(Spanned::span)),
            (Setting::To, envelope.to.as_ref().map(Spanned::span)),
            (Setting::Until, session.until.as_ref().map(Spanned::span)),
            (Setting::Body, message.body.as_ref().map(Spanned::span)),
            (Setting::Send, message.send.as_ref().map(Spanned::span)),
        ];
        let layer = ProbeLayer {
            description: description.map(|Read(Line(text))| text),
            domain: target.domain.map(|domain| domain.into_inner().0),
            hosts: target.hosts.map(|hosts| hosts.into_inner().0).unwrap_or_default(),
            control: bare(target.control),
            port: target.port.and_then(|Whole(port)| u16::try_from(port).ok()),
            own_mx: target.own_mx,
            sources: bare(source.addresses),
            neutral: source.neutral.into_iter().map(|Read(Ip(ip))| ip).collect(),
            ehlo_of: source.ehlo.into_iter().map(|(Read(Ip(ip)), Read(name))| (ip, name)).collect(),
            public: source.public.into_iter().map(|(Read(Ip(ip)), Read(Ip(seen)))| (ip, seen)).collect(),
            from: envelope.from.map(|Read(from)| from),
            neutral_from: envelope.neutral.map(|Read(from)| from),
            to: envelope.to.map(|to| to.into_inner().0).unwrap_or_default(),
            owned: bare(envelope.owned),
            until: session.until.map(|until| until.into_inner().0.0),
            tls: session.tls.map(|Read(level)| level),
            timeouts: session.timeout.into_iter().map(|(stage, Read(Period(time)))| (stage, time)).collect(),
            send: message.send.map(Spanned::into_inner),
            body: message.body.map(|path| directory.join(path.into_inner())),
            dkim: message.dkim.map(|DkimTable { domain, selector, key }| Dkim {
                domain: domain.0,
                selector: selector.0.to_string(),
                key: directory.join(key),
            }),
            limits: limits.read(),
            dnsbl: bare(preflight.dnsbl),
            gate: GateLayer {
                min_go: gate.min_go.map(|Whole(n)| n),
                max_transient: gate.max_transient.map(|Read(Share(share))| share),
                warn: bare(gate.warn),
            },
            expect: expect.map(|ExpectTable { stage, code, enhanced, tag }| Expect {
                stage: stage.map(Spanned::into_inner),
                code,
                enhanced,
                tag: tag.map(|Read(Line(tag))| tag),
            }),
            ..ProbeLayer::default()
        };
        let schedule = schedule.map(ScheduleTable::read).transpose()?;
        let alert = alert.map(AlertTable::read).transpose()?;
        let places = places.into_iter().filter_map(|(setting, place)| Some((setting, place?))).collect();
        Ok(Parts { layer, schedule, alert, places })
    }
}

impl LimitsTable {
    fn read(self) -> LimitsLayer {
        LimitsLayer {
            attempts: self.attempts.map(|Whole(n)| n),
            pace: self.pace.map(|Read(Pause(time))| time),
            per_address: self.per_address.map(|Whole(n)| n as usize),
            per_provider: self.per_provider.map(|Whole(n)| n as usize),
            rate: self.rate.map(|Read(rate)| rate),
            per_hour: self.per_hour.map(|Whole(n)| n),
            per_day: self.per_day.map(|Whole(n)| n),
            max_time: self.max_time.map(|Read(Period(time))| time),
        }
    }
}

impl ScheduleTable {
    fn read(table: Spanned<Self>) -> Result<Schedule, Wrong> {
        let place = table.span();
        let Self { every, cron, round, jitter } = table.into_inner();
        let wrong = |found: &str| format!("{found}: wanted one of `every` and `cron`");
        let when = match (every, cron) {
            (Some(Read(Period(every))), None) => When::Every(every),
            (None, Some(Read(cron))) => When::Cron(cron),
            (Some(_), Some(_)) => return Err(Wrong { place, message: wrong("`every` beside `cron`") }),
            (None, None) => return Err(Wrong { place, message: wrong("a schedule without a time") }),
        };
        let jitter = jitter.map_or_else(Default::default, |Read(Pause(time))| time);
        if matches!(when, When::Every(every) if jitter >= every) {
            let message = "`jitter` as long as the schedule: wanted less than `every`".to_owned();
            return Err(Wrong { place, message });
        }
        Ok(Schedule { when, full: round == Some(Round::Full), jitter })
    }
}

impl AlertTable {
    fn read(table: Spanned<Self>) -> Result<Alert, Wrong> {
        let place = table.span();
        let Self { after, clear, webhook, command, mail, relay, from } = table.into_inner();
        let wrong = |place, message: &str| Err(Wrong { place, message: message.to_owned() });
        if mail.is_none()
            && let Some((place, name)) =
                relay.as_ref().map(|r| (r.span(), "relay")).or(from.as_ref().map(|f| (f.span(), "from")))
        {
            return wrong(place, &format!("`{name}` without `mail`: wanted the addresses to write to"));
        }
        let command: Vec<String> = command.into_iter().map(|Read(Line(word))| word).collect();
        let relay = relay.map_or_else(Relay::default, |relay| relay.into_inner().0);
        let from = from.map(|from| from.into_inner().0);
        let webhooks = webhook.into_iter().flat_map(|OneOrMore(urls)| urls).map(Receiver::Webhook);
        let commands = Some(command).filter(|words| !words.is_empty()).map(Receiver::Command);
        let mails = mail.into_iter().flat_map(|OneOrMore(to)| to);
        let mails = mails.map(|to| Receiver::Mail(Mail { to, relay: relay.clone(), from: from.clone() }));
        let mut receivers: Vec<Receiver> = Vec::new();
        for receiver in webhooks.chain(commands).chain(mails) {
            if receivers.iter().any(|other| other.key() == receiver.key()) {
                return wrong(place, &format!("{receiver} twice: wanted each receiver once"));
            }
            receivers.push(receiver);
        }
        if receivers.is_empty() {
            return wrong(place, "an alert that tells nobody: wanted `webhook`, `command` or `mail`");
        }
        Ok(Alert {
            after: after.map_or(2, |Read(Failing(n))| n),
            clear: clear.map_or(3, |Read(Clean(n))| n),
            receivers,
        })
    }
}

fn bare<T>(list: Vec<Read<T>>) -> Vec<T> {
    list.into_iter().map(|Read(value)| value).collect()
}
