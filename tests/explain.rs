//! What `explain` says of errors as people paste them: the reading and what the catalogue adds.

use mxprobe::catalog::Catalog;
use mxprobe::explain::explain;
use mxprobe::report::Reader;
use mxprobe::smtp::reply::Class;
use mxprobe::stage::Stage;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    text: String,
    stage: Option<Stage>,
    code: u16,
    class: Class,
    text_class: Option<Class>,
    tag: Option<String>,
    #[serde(default)]
    contradicts: bool,
    scope: Option<String>,
    #[serde(default = "yes")]
    attempt: bool,
}

const fn yes() -> bool {
    true
}

#[test]
fn pasted_errors_are_explained() {
    let cases: Cases = toml::from_str(include_str!("explain/seed.toml")).unwrap();
    assert!(cases.case.len() >= 9);
    for case in cases.case {
        let about = &case.text;
        let reading = Reader::new().read("-", case.text.as_bytes());
        assert_eq!(reading.reports.len(), 1, "{about}: {:?}", reading.reports);
        let mut report = reading.reports.into_iter().next().unwrap();
        explain(&mut report, Catalog::built_in());
        assert_eq!(report.stage, case.stage, "{about}");
        assert_eq!(report.code.map(mxprobe::smtp::reply::Code::get), Some(case.code), "{about}");
        assert_eq!(report.class, Some(case.class), "{about}");
        assert_eq!(report.tag, case.tag, "{about}");
        assert_eq!(report.attempt, case.attempt, "{about}");
        assert_eq!(report.notes.iter().any(|note| note == "inconsistent-reply"), case.contradicts, "{about}");
        assert!(case.text_class.is_none() || report.text_class == case.text_class, "{about}: {:?}", report.text_class);
        assert!(case.scope.is_none() || report.scope == case.scope, "{about}: {:?}", report.scope);
        assert!(report.meaning.is_some_and(|text| !text.is_empty()), "{about}: no meaning");
        assert!(report.advice.is_some_and(|text| !text.is_empty()), "{about}: no advice");
    }
}
