//! Files that an operator writes, or copies from somebody: read, or refused in words that name the
//! place and obey nobody.

use std::io;
use std::path::Path;

use mxprobe::probe::file::ProbeFile;
use mxprobe::sim::Scenario;
use mxprobe::stage::Stage;

use super::is_tame;

pub fn scenario(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Scenario::parse("a.toml", &text) {
        let said = error.to_string();
        assert!(is_tame(&said) && !said.contains('\n'), "{said:?}");
        assert!((1..=text.lines().count().max(1) + 1).contains(&error.line()), "{said}");
        assert_eq!(Scenario::parse("a.toml", &text).err(), Some(error));
    }
}

pub fn probe_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let file = match ProbeFile::parse(Path::new("probes/a.toml"), &text) {
        Ok(file) => file,
        Err(error) => return shown(&error.render(), &text),
    };
    let owned = file.layer.owned.clone();
    match file.layer.clone().settle(|_| Err(io::ErrorKind::NotFound.into())) {
        Ok(probe) => {
            assert!(probe.envelope.to.iter().all(|to| owned.contains(to)), "it writes to a stranger");
            assert!(probe.until < Stage::EndOfData || file.layer.send == Some(true), "it sends without leave");
            assert!(probe.until < Stage::Rcpt || !probe.envelope.to.is_empty());
            assert!(!probe.target.names().is_empty());
        }
        Err(conflict) => shown(&file.locate(&conflict).render(), &text),
    }
}

fn shown(error: &str, text: &str) {
    let tame = |c: char| !c.is_control() || c == '\n' || c == '\t';
    assert!(error.chars().all(tame), "{error:?}");
    // The file's own lines around the place, and our words.
    assert!(error.len() < 4 * text.len() + 4096, "{} bytes about {}", error.len(), text.len());
}
