//! A probe in flat text, and expected texts in files: what the players of `tests/cli` and
//! `tests/probe-files` share.

use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};

use mxprobe::limits::Limits;
use mxprobe::probe::{Expect, Family, Gate, HostSpec, Probe};
use mxprobe::record::CheckName;
use mxprobe::smtp::session::TlsLevel;
use mxprobe::stage::Stage;
use mxprobe::timeouts::Timeouts;

/// One line per setting that is not the default, in the order of the probe file.
pub(crate) fn of(probe: &Probe) -> String {
    // Taken apart by name, so that a new field does not pass unseen.
    let Probe {
        description,
        target,
        source,
        envelope,
        until,
        tls,
        timeouts,
        message,
        limits,
        expect,
        gate,
        dnsbl,
        pair_plaintext,
        ignore_rest,
    } = probe;
    let mut facts = Facts::default();
    facts.say("description", description.iter());
    facts.say("domain", target.domain.iter().map(ToString::to_string));
    facts.say(
        "hosts",
        target.hosts.iter().map(|host| match host {
            HostSpec::Name(name) => format!("name {name}"),
            HostSpec::Address(ip) => format!("address {ip}"),
        }),
    );
    facts.say("control", target.control.iter().map(ToString::to_string));
    facts.unless("port", &target.port, &25);
    facts.unless("family", &target.family, &Family::default());
    facts.unless("own-mx", &target.own_mx, &false);
    facts.say("sources", source.addresses.iter().map(ToString::to_string));
    facts.say("neutral", source.neutral.iter().map(ToString::to_string));
    facts.say("ehlo", source.ehlo.iter().map(ToString::to_string));
    facts.say("ehlo of", source.ehlo_of.iter().map(|(ip, name)| format!("{ip} = {name}")));
    facts.say("public", source.public.iter().map(|(ip, seen)| format!("{ip} = {seen}")));
    facts.say("from", envelope.from.iter().map(ToString::to_string));
    facts.say("neutral from", envelope.neutral.iter().map(ToString::to_string));
    facts.say("to", envelope.to.iter().map(ToString::to_string));
    facts.say("until", [until.to_string()].into_iter());
    facts.unless("tls", tls, &TlsLevel::default());
    for &stage in Stage::ALL {
        facts.unless(&format!("timeout {stage}"), &timeouts.get(stage), &Timeouts::default().get(stage));
    }
    facts.say("body", message.body.iter().map(|body| String::from_utf8_lossy(body).into_owned()));
    facts.say(
        "dkim",
        message.dkim.iter().map(|dkim| format!("{} {} {}", dkim.domain, dkim.selector, dkim.key.display())),
    );
    let Limits { attempts, pace, per_address, per_provider, rate, per_hour, per_day, max_time } = limits;
    let default = Limits::default();
    facts.unless("attempts", attempts, &default.attempts);
    facts.unless("pace", pace, &default.pace);
    facts.unless("per-address", per_address, &default.per_address);
    facts.unless("per-provider", per_provider, &default.per_provider);
    facts.unless("rate", rate, &default.rate);
    facts.unless("per-hour", per_hour, &default.per_hour);
    facts.unless("per-day", per_day, &default.per_day);
    facts.unless("max-time", max_time, &default.max_time);
    facts.unless("expect", expect, &Expect::default());
    facts.unless("min-go", &gate.min_go, &None);
    facts.unless("max-transient", &gate.max_transient, &Gate::default().max_transient);
    facts.say(
        "warn",
        gate.warn.iter().filter(|check| *tls >= TlsLevel::Require || !enforced(**check)).map(ToString::to_string),
    );
    facts.say("dnsbl", dnsbl.iter().map(ToString::to_string));
    facts.unless("pair-plaintext", pair_plaintext, &false);
    facts.unless("ignore-rest", ignore_rest, &false);
    facts.0
}

/// Checks of what only an enforcing sender stumbles over; without one they are in `warn` anyway.
fn enforced(check: CheckName) -> bool {
    matches!(check, CheckName::MtaSts | CheckName::Dane | CheckName::TlsRpt | CheckName::StartTls)
}

#[derive(Default)]
pub(crate) struct Facts(pub(crate) String);

impl Facts {
    pub(crate) fn say(&mut self, name: &str, values: impl Iterator<Item = impl AsRef<str>>) {
        for value in values {
            writeln!(self.0, "{name}: {}", value.as_ref()).unwrap();
        }
    }

    pub(crate) fn unless<T: Debug + PartialEq>(&mut self, name: &str, value: &T, default: &T) {
        if value != default {
            writeln!(self.0, "{name}: {value:?}").unwrap();
        }
    }
}

/// The files of a directory with this extension, in order.
pub(crate) fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

/// Compares with the file at `path`, or writes it when `BLESS` is set.
pub(crate) fn compare(path: &Path, found: &str) {
    let mut found = found.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    found.push('\n');
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(found == expected, "{}\n--- expected\n{expected}--- found\n{found}", path.display());
}
