//! `demo`: the AOL incident of October 2012, simulated on loopback, probed for real, diagnosed.

use std::io::{self, Write as _};
use std::sync::Arc;

use super::show::Show;
use super::{Done, Failure, catalog, run, runtime};
use crate::catalog::Catalog;
use crate::cli::demo::DemoArgs;
use crate::dns::Dns;
use crate::ledger::RunLedger;
use crate::limits::Limits;
use crate::probe::layer::ProbeLayer;
use crate::run::Setup;
use crate::sim::{Ports, Provider, Scenario};
use crate::wire::Trust;
