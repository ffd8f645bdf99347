//! The same bundle as one page that needs nothing else: no script, no picture, no font from outside.
//!
//! The policy in its head lets nothing in but its own style, by that one's digest, so that even what
//! had slipped through the template's escaping could not act.

use std::io;

use askama::Template;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Look;
use super::bundle::{Block, Bundle, Past};
use super::recording::Recording;

const STYLE: &str = include_str!("../../templates/report.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    bundle: &'a Bundle,
    style: &'static str,
    /// Of the style, in base64.
    digest: String,
}

/// Writes a recording, and an incident's past where it is one's.
pub(super) fn write<W: io::Write>(
    recording: &Recording,
    past: Option<&Past>,
    out: &mut W,
    look: Look,
) -> io::Result<()> {
    let bundle = &Bundle::of(recording, past, look.detail);
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let page = Page { bundle, style: STYLE, digest };
    page.write_into(out)?;
    writeln!(out)
}
