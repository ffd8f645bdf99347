//! The programs of others that a benchmark stands beside.

use std::io;
use std::path::{Path, PathBuf};

/// Where `program` is, or which Debian package has it. Those for root alone are looked for too.
pub(crate) fn peer(program: &str, package: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no {program}: install the package {package}"));
    places.map(|place| place.join(program)).find(|place| Path::is_file(place)).ok_or_else(missing)
}
