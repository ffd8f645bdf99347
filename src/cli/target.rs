//! TARGET: a probe file or a domain, and which of the two was meant.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::usage::Usage;
use crate::address::Host;
use crate::probe::HostSpec;
use crate::probe::file::ProbeFile;

/// The largest probe file or list of mailboxes that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// One TARGET.
pub(super) enum Target {
    Domain(Host),
    File(Box<ProbeFile>),
}

impl Target {
    /// A file that exists, and whatever ends in `.toml`, is a probe file; anything else is a domain.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no probe file; a text that is neither.
    pub(super) fn read(text: &OsStr) -> Result<Self, Usage> {
        let path = Path::new(text);
        let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
        if is_toml || path.exists() && !path.is_dir() {
            let text = read_text(path, "probe file")?;
            return match ProbeFile::parse(path, &text) {
                Ok(file) => Ok(Self::File(Box::new(file))),
                Err(error) => Err(Usage::in_file(&error)),
            };
        }
        let shown: String = text.to_string_lossy().chars().take(120).collect();
        if path.is_dir() {
            return Err(Usage::error(format!("{shown:?} is a directory: wanted a domain or a probe file")));
        }
        let neither = |why: String| {
            Usage::error(format!("{shown:?} is neither a probe file nor a domain: there is no such file, and {why}"))
        };
        let Some(name) = text.to_str() else { return Err(neither("a domain is UTF-8".to_owned())) };
        match name.parse() {
            Ok(HostSpec::Name(domain)) => Ok(Self::Domain(domain)),
            Ok(HostSpec::Address(ip)) => Err(neither(format!("an address is probed with --host {ip}"))),
            Err(_) => Err(neither(match name.parse::<Host>() {
                Err(error) => error.to_string(),
                Ok(_) => "no domain ends in a number".to_owned(),
            })),
        }
    }
}

/// The text of a file of moderate size.
///
/// # Errors
///
/// What keeps it from being read.
pub(super) fn read_text(path: &Path, what: &str) -> Result<String, Usage> {
    let error = |why: String| Usage::error(format!("{what} {:?} cannot be read: {why}", path.display().to_string()));
    let bytes = read_bytes(path, LARGEST_FILE).map_err(|e| error(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| error(format!("byte {} is not UTF-8", e.utf8_error().valid_up_to())))
}

/// A file of at most `largest` bytes.
pub(super) fn read_bytes(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::other(format!("it is larger than {largest} bytes")));
    }
    Ok(bytes)
}
