//! Plays the cases of `tests/catalog/` and holds the shipped rules to their own examples.

use std::fmt::Debug;
use std::path::Path;

use mxprobe::catalog::{Catalog, Rule, Words, addresses_named, contradicts, normalise, rest, text_class};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// One reply and what is to be read from it. What a case leaves out is not looked at; `null` says
/// that there is to be nothing.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    reply: String,
    /// A report's DSN action, for `contradicts`.
    action: Option<String>,
    #[serde(default, deserialize_with = "present")]
    provider: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    text_class: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    contradicts: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rest_hours: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    normalised: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    addresses: Option<Value>,
}

/// Replies that are one and the same, or each another.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Group {
    Same(Vec<String>),
    Different(Vec<String>),
}

#[test]
fn cases_are_read_as_they_say() {
    let mut wrong = Vec::new();
    for (place, line) in lines("cases") {
        let case: Case = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{place}: {e}"));
        let words = Words::parse(&case.reply);
        let rule = Catalog::built_in().find(&words);
        let class = text_class(words.text);
        let disagrees = contradicts(words.code, words.enhanced, class, case.action.as_deref());
        let mut check = |field: &str, want: Option<Value>, found: Value| {
            if want.as_ref().is_some_and(|want| *want != found) {
                wrong.push(format!("{place}: {field} of {:?} is {found}, not {}", case.reply, want.unwrap()));
            }
        };
        check("provider", case.provider, rule.map(|rule| rule.provider.clone()).into());
        check("scope", case.scope, rule.map(|rule| rule.scope.to_string()).into());
        check("text-class", case.text_class, class.map(|class| class.to_string()).into());
        check("contradicts", case.contradicts, disagrees.into());
        check("rest-hours", case.rest_hours, rest(&words).map(|rest| rest.as_secs() / 3600).into());
        check("normalised", case.normalised, normalise(&case.reply).into());
        let addresses: Vec<_> = addresses_named(words.text).iter().map(ToString::to_string).collect();
        check("addresses", case.addresses, addresses.into());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_reply_is_equal_and_another_is_not() {
    let mut wrong = Vec::new();
    for (place, line) in lines("groups") {
        let group: Group = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{place}: {e}"));
        let (replies, same) = match &group {
            Group::Same(replies) => (replies, true),
            Group::Different(replies) => (replies, false),
        };
        assert!(replies.len() > 1, "{place}: one reply compares with nothing");
        for (index, one) in replies.iter().enumerate() {
            for other in &replies[index + 1..] {
                let (one, other) = (normalise(one), normalise(other));
                if (one == other) != same {
                    wrong.push(format!("{place}: {one:?} and {other:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_is_the_one_for_its_own_example() {
    let catalog = Catalog::built_in();
    let mut wrong = Vec::new();
    for rule in catalog.rules() {
        let example = rule.example.as_deref().unwrap_or_else(|| panic!("a rule without an example: {rule:?}"));
        let found = catalog.find(&Words::parse(example));
        if !found.is_some_and(|found| std::ptr::eq(found, rule)) {
            wrong.push(format!("{example:?} finds {:?}\n  instead of {:?}", found.map(outline), outline(rule)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_shipped_rule_is_complete_and_reads_as_a_users_would() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/replies");
    let mut rules = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let jsonl = std::fs::read_to_string(&path).unwrap();
        let read = Catalog::built_in().with(path.to_str().unwrap(), &jsonl).unwrap_or_else(|e| panic!("{e}"));
        let here = read.rules().count() - Catalog::built_in().rules().count();
        for rule in read.rules().take(here) {
            assert!(!rule.meaning.is_empty() && !rule.advice.is_empty() && !rule.source.is_empty(), "{rule:?}");
            assert!(rule.status.is_some(), "{rule:?}");
        }
        rules += here;
    }
    assert_eq!(rules, Catalog::built_in().rules().count(), "a file is there that is not shipped");
}

#[test]
fn a_users_rule_wins_where_it_is_as_specific() {
    let reply = "421 4.7.0 mx.example.net Error: too many errors";
    let provider = |jsonl: &str| {
        let catalog = Catalog::built_in().with("/etc/mine.jsonl", jsonl).unwrap();
        catalog.find(&Words::parse(reply)).unwrap().provider.clone()
    };
    let rule = |fields: &str| format!("# ours\n\n{{{fields}, \"scope\": \"mixed\", \"meaning\": \"ours\"}}\n");
    assert_eq!(provider(&rule(r#""code":[421],"enhanced":["4.7.0"],"pattern":"too many errors""#)), "mine");
    assert_eq!(provider(&rule(r#""provider":"us","tag":"Error""#)), "us");
    assert_eq!(provider(&rule(r#""pattern":"too many errors""#)), "postfix-server");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let mut said = Vec::new();
    for line in [
        r#"{"code": [421], "scope": "weather", "meaning": "x"}"#,
        r#"{"code": [999], "scope": "rate", "meaning": "x"}"#,
        r#"{"enhanced": ["4.7"], "scope": "rate", "meaning": "x"}"#,
        r#"{"scope": "rate", "meaning": "x"}"#,
        r#"{"pattern": "(", "scope": "rate", "meaning": "x"}"#,
        r#"{"pattern": "a)(b", "scope": "rate", "meaning": "x"}"#,
        r#"{"tag": "(?:a{1000}){1000}", "scope": "rate", "meaning": "x"}"#,
        r#"{"patern": "x", "scope": "rate", "meaning": "x"}"#,
        r#"{"code": [421], "meaning": "x"}"#,
        "421 rate",
    ] {
        let error = Catalog::built_in().with("mine.jsonl", &format!("# rules\n{line}")).unwrap_err();
        said.push(error.to_string());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    mine.jsonl:2:34: unknown scope "weather": wanted one of sender-ip-reputation, sender-ip-policy, sender-domain-reputation, sender-auth, sender-dns, sender-content, sender-list, sender-config, rate, recipient, recipient-policy, receiver-outage, receiver, network, routing, protocol, consequence, policy, mixed, unknown
    mine.jsonl:2:14: 999 is no reply code: wanted 200 to 599
    mine.jsonl:2:20: "4.7" is no enhanced code: wanted one such as 5.7.1, 5.7.606-649, x.7.1 or x.7.x
    mine.jsonl:2: the rule fits any reply: wanted `code`, `enhanced`, `tag` or `pattern`
    mine.jsonl:2: `pattern` "(": unclosed group: wanted a regular expression
    mine.jsonl:2: `pattern` "a)(b": unopened group: wanted a regular expression
    mine.jsonl:2: `tag` "(?:a{1000}){1000}": Compiled regex exceeds size limit of 1048576 bytes: wanted a regular expression
    mine.jsonl:2:9: unknown field `patern`, expected one of `provider`, `also`, `code`, `enhanced`, `tag`, `pattern`, `scope`, `meaning`, `advice`, `source`, `status`, `example`
    mine.jsonl:2:31: missing field `scope`
    mine.jsonl:2:3: invalid type: integer `421`, expected a rule: a JSON object on one line
    "#);
}

proptest! {
    #[test]
    fn any_text_can_be_read(text in reply_text(), action in ".{0,8}") {
        let words = Words::parse(&text);
        let _ = Catalog::built_in().find(&words);
        let _ = rest(&words);
        let _ = addresses_named(&text);
        let _ = contradicts(words.code, words.enhanced, text_class(&text), Some(&action));
    }

    #[test]
    fn what_is_normal_stays_as_it_is(text in reply_text()) {
        let normal = normalise(&text);
        prop_assert_eq!(normalise(&normal), normal, "from {:?}", text);
    }
}

/// Texts made of what replies are made of, put together at random.
fn reply_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => r"(?s).{0,12}",
        2 => "[0-9a-fA-F:.]{1,20}",
        2 => "[-A-Za-z0-9._@=%+/<>(){}:]{1,30}",
        1 => Just("x".repeat(600)),
        1 => (1364_usize..1368).prop_map(|n| "ab ".repeat(n)),
        20 => proptest::sample::select(&[
            "554", "554-", "421 ", "5.7.1", "4.7.0", " ", " ", " ", "-", "- ", "mx1.example.com", "[192.0.2.1]",
            "2001:db8::1", "IPv6:", "(CON:B1)", "[TSS04]", "http://", "a@example.com", "user%40b.example", "12:34:56",
            "2012-10-26T12:34:56Z", "Oct ", "Fri, ", "26 ", "2012 ", "+0000 ", "UTC", "287 ", "seconds ", "using ",
            "4F2A91C0B7", "1TRabc-0001Xy-7g", "2.0.0.127.zen.spamhaus.org", "{host}", "{time} ", "“TempFail”", ";",
            "{address}", "{id}", "{mailbox}", "AS(", "201806281", ")", ".", ",", "\r\n", "\u{1b}[1m", "é",
        ][..]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn outline(rule: &Rule) -> impl Debug {
    (rule.provider.clone(), rule.codes.clone(), rule.tag.clone(), rule.pattern.clone(), rule.meaning.clone())
}

/// The lines of the files whose name starts so, with their place; empty ones and notes left out.
fn lines(prefix: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalog");
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(prefix) {
            let text = std::fs::read_to_string(&path).unwrap();
            let numbered = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
            lines.extend(numbered.map(|(index, line)| (format!("{name}:{}", index + 1), line.to_owned())));
        }
    }
    assert!(!lines.is_empty(), "no cases: {prefix}");
    lines
}

/// Tells `null` from a field that is not there.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
