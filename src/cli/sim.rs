//! `sim`: a scripted provider.

use std::path::PathBuf;

use super::args;

/// The flags of `sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// The scenario file
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// The port that the provider's DNS server listens on [default: any that is free, and printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::port)]
    pub dns_port: Option<u16>,
    /// The port that its mail exchangers listen on [default: any that is free, and printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::port)]
    pub port: Option<u16>,
    /// Write what the provider saw to FILE, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe sim scenarios/aol-2012.toml --dns-port 5353 --port 2525
  mxprobe run aol.com --dns 127.0.0.1:5353 --port 2525 --source 127.0.0.2 --history none";
