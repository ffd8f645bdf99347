//! What a domain publishes about TLS: read as strictly however it is cut into strings, and what is
//! kept is what could have been written.

use std::fmt::Write as _;

use mxprobe::policy::mta_sts::{self, Mode, Policy};
use mxprobe::policy::tls_rpt;
use mxprobe::visible::visible;

pub fn policy(bytes: &[u8]) {
    match Policy::parse(bytes) {
        Ok(policy) => {
            assert!(policy.mode == Mode::None || !policy.mx.is_empty());
            assert!(policy.max_age.as_secs() <= 31_557_600 && policy.mx.len() <= 1000);
            let mut written = format!("version: STSv1\nmode: {}\nmax_age: {}\n", policy.mode, policy.max_age.as_secs());
            for pattern in &policy.mx {
                let _ = writeln!(written, "mx: {pattern}");
            }
            assert_eq!(Policy::parse(written.as_bytes()).as_ref(), Ok(&policy), "{written}");
            let windows = written.replace('\n', " \r\n");
            assert_eq!(Policy::parse(windows.as_bytes()), Ok(policy), "{windows}");
        }
        Err(invalid) => one_line(&invalid.to_string()),
    }

    // As TXT records, one a line.
    let texts: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').take(20).map(<[u8]>::to_vec).collect();
    match mta_sts::id(&texts) {
        Ok(Some(id)) => assert!((1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())),
        Ok(None) => {}
        Err(invalid) => one_line(&invalid.to_string()),
    }
    match tls_rpt::destinations(&texts) {
        Ok(Some(destinations)) => {
            assert!(!destinations.is_empty());
            for destination in destinations {
                let (scheme, _) = destination.split_once(':').unwrap();
                assert!(["mailto", "https"].contains(&&*scheme.to_ascii_lowercase()), "{destination}");
                assert!(destination.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','), "{destination}");
            }
        }
        Ok(None) => {}
        Err(invalid) => one_line(&invalid.to_string()),
    }
}

fn one_line(said: &str) {
    assert_eq!(visible(said), said);
    assert!(said.len() < 2000, "{said}");
}
