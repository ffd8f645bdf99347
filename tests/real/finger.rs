//! Postfix's own verdict on a domain's certificates, beside ours.

use std::path::Path;
use std::process::Command;

/// What posttls-finger says of `target`. Its resolver is that of the system, which is another one in
/// a namespace of its own.
pub(crate) fn verdict(dir: &Path, target: &str) -> String {
    let script = "mount --bind \"$1\" /etc/resolv.conf && exec posttls-finger -c -l dane -Lsummary -T 10 \"$2\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([dir.join("resolv.conf").as_os_str(), target.as_ref()])
        .env("MAIL_CONFIG", dir.join("etc"))
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
