//! Plays the cases of `tests/policy`: what a domain says about TLS, as text, and what it comes to.

use std::path::Path;

use mxprobe::policy::{mta_sts, tls_rpt};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases<T> {
    case: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    texts: Vec<String>,
    is: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    text: String,
    is: String,
    #[serde(default)]
    admits: Vec<String>,
    #[serde(default)]
    rejects: Vec<String>,
}

fn cases<T: for<'de> Deserialize<'de>>(name: &str, least: usize) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy").join(name);
    let cases: Cases<T> = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.case.len() >= least, "{name}: only {} cases", cases.case.len());
    cases.case
}

fn texts(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn records_of_mta_sts() {
    for Records { texts: given, is } in cases("mta-sts-records.toml", 20) {
        let found = match mta_sts::id(&texts(&given)) {
            Ok(id) => id.unwrap_or_else(|| "none".to_owned()),
            Err(e) => format!("error: {e}"),
        };
        assert_eq!(found, is, "{given:?}");
    }
}

#[test]
fn records_of_tls_reports() {
    for Records { texts: given, is } in cases("tls-rpt-records.toml", 15) {
        let found = match tls_rpt::destinations(&texts(&given)) {
            Ok(destinations) => destinations.map_or_else(|| "none".to_owned(), |all| all.join(" ")),
            Err(e) => format!("error: {e}"),
        };
        assert_eq!(found, is, "{given:?}");
    }
}

#[test]
fn policies() {
    for Policy { text, is, admits, rejects } in cases("policies.toml", 25) {
        let policy = mta_sts::Policy::parse(text.as_bytes());
        let found = match &policy {
            Ok(mta_sts::Policy { mode, max_age, mx }) => {
                let words = [mode.to_string(), max_age.as_secs().to_string()];
                let words = words.into_iter().chain(mx.iter().map(ToString::to_string));
                words.collect::<Vec<_>>().join(" ")
            }
            Err(e) => format!("error: {e}"),
        };
        assert_eq!(found, is, "{text:?}");
        for (host, admitted) in admits.iter().map(|h| (h, true)).chain(rejects.iter().map(|h| (h, false))) {
            assert_eq!(policy.as_ref().unwrap().admits(&host.parse().unwrap()), admitted, "{text:?}: {host}");
        }
    }
    let endless = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{}", "mx: a.example\n".repeat(1001));
    let error = mta_sts::Policy::parse(endless.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "line 1004: \"mx: a.example\": wanted 1000 mx lines at most");
    assert!(mta_sts::Policy::parse(b"version: STSv1\nmode: enforce\nmx: \xff\n").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, texts: Vec<Vec<u8>>, tail in "(; ?[a-z]{0,4}=?[ -~]{0,20}){0,3}") {
        let _ = mta_sts::Policy::parse(&bytes);
        let _ = mta_sts::Policy::parse(&[b"version: STSv1\nmode: ", &bytes[..]].concat());
        for version in ["v=STSv1", "v=TLSRPTv1"] {
            let mut texts = texts.clone();
            texts.push(format!("{version}{tail}").into_bytes());
            let errors = [mta_sts::id(&texts).err(), tls_rpt::destinations(&texts).err()];
            for error in errors.into_iter().flatten() {
                prop_assert!(!error.to_string().contains(char::is_control) && error.to_string().chars().count() < 2000);
            }
        }
    }
}
