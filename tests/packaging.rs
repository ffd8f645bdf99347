//! What is shipped beside the program says of its metrics what they are: every name in the rules and
//! on the dashboard is one that a watch exposes, and every one that it exposes is in one of them.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn rules_and_dashboard_name_what_is_exposed_and_all_of_it() {
    // What a watch with something to say on every count exposes, as `tests/web.rs` holds it to.
    let exposed: BTreeSet<String> = read("tests/web/metrics-text.expected")
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(exposed.len() >= 20, "only {} metrics are exposed", exposed.len());
    let name = Regex::new(r"\b(?:mxprobe|probe)_[a-z_]+\b").unwrap();
    let named = |text: &str| name.find_iter(text).map(|found| found.as_str().to_owned()).collect::<BTreeSet<_>>();
    let rules = read("packaging/prometheus/mxprobe.rules.yml");
    let tests = read("packaging/prometheus/mxprobe.rules.test.yml");
    let mut all = named(&rules);
    all.extend(named(&tests));
    all.extend(expressions(&read("packaging/grafana/mxprobe.json")).iter().flat_map(|text| named(text)));
    let unknown: Vec<_> = all.difference(&exposed).collect();
    assert!(unknown.is_empty(), "nothing exposes {unknown:?}");
    let unused: Vec<_> = exposed.difference(&all).collect();
    assert!(unused.is_empty(), "neither a rule nor a panel shows {unused:?}");
}

/// What a dashboard asks of Prometheus. Panels have numbers of their own, and every one asks.
fn expressions(text: &str) -> Vec<String> {
    let board: Value = serde_json::from_str(text).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut all: Vec<String> = board["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|variable| variable["query"]["query"].as_str())
        .map(str::to_owned)
        .collect();
    for panel in panels {
        let asked: Vec<_> = panel["targets"].as_array().unwrap().iter().filter_map(|t| t["expr"].as_str()).collect();
        assert!(!asked.is_empty() && asked.iter().all(|text| !text.is_empty()), "{}", panel["title"]);
        all.extend(asked.into_iter().map(str::to_owned));
    }
    all
}
