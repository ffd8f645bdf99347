//! Which sessions of those on record are meant.

use std::net::IpAddr;

use super::args::{self, Words};
use crate::history::archive::Filter;
use crate::probe::spelling;
use crate::smtp::reply::Code;
use crate::stage::Stage;

/// The flags that choose sessions, of every command that looks into the history.
#[derive(Clone, Debug, clap::Args)]
pub struct SessionFlags {
    /// Only sessions from this address
    #[arg(long, value_name = "IP", value_parser = spelling::ip, help_heading = "Filter")]
    pub source: Option<IpAddr>,
    /// Only sessions that ended at this stage
    #[arg(long, value_parser = Words::<Stage>::new("stage", Stage::ALL.iter().map(|stage| stage.as_str())), help_heading = "Filter")]
    pub stage: Option<Stage>,
    /// Only sessions that this reply code ended
    #[arg(long, value_parser = code, help_heading = "Filter")]
    pub code: Option<Code>,
    /// Only sessions with this code of the provider's own, as TSS04
    #[arg(long, help_heading = "Filter")]
    pub tag: Option<String>,
}

impl SessionFlags {
    /// What the history is asked for.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let Self { source, stage, code, tag } = self.clone();
        Filter { source, stage, code, tag, ..Filter::default() }
    }
}

fn code(text: &str) -> Result<Code, String> {
    let code = text.parse().ok().and_then(Code::new);
    code.ok_or_else(|| format!("{:?} is no reply code: wanted 200 to 599", args::short(text)))
}
