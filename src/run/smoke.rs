//! What a smoke test has beside a run: the checks, made while the sessions are held, and the gate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Setup;
use super::resolve::Resolved;
use crate::auth::Signer;
use crate::drive::turned;
use crate::gate::{self, Ground};
use crate::preflight::{self, Before, Room};
use crate::probe::Dkim;
use crate::record::{Check, CheckName, CheckResult, Diagnosis, Gate, Role, Session};

/// The checks, under way.
pub(super) struct Preflight {
    rooms: Vec<Room>,
    before: JoinHandle<Vec<Before>>,
    cancel: watch::Receiver<bool>,
}

impl Preflight {
    /// Begins to check each target, all at once.
    pub(super) fn start(
        setup: &Setup,
        resolved: &[Resolved],
        signers: &HashMap<Dkim, Arc<Signer>>,
        cancel: watch::Receiver<bool>,
    ) -> Self {
        let rooms: Vec<Room> = setup
            .probes
            .iter()
            .zip(resolved)
            .filter_map(|(probe, found)| {
                let route = found.routes.iter().find(|route| route.role == Role::Target)?.clone();
                let signer = probe.message.dkim.as_ref().and_then(|dkim| signers.get(dkim)).cloned();
                let (sources, dns, trust) = (found.sources.clone(), setup.dns.clone(), setup.trust.clone());
                Some(Room { probe: Arc::clone(probe), route, sources, dns, trust, signer })
            })
            .collect();
        let theirs = rooms.clone();
        let before = tokio::spawn(async move { join_all(theirs.iter().map(preflight::before)).await });
        Self { rooms, before, cancel }
    }

    /// All checks, those too that only the sessions make possible.
    pub(super) async fn finish(&mut self, run: &str, sessions: &[Session]) -> Vec<Check> {
        let before = tokio::select! {
            biased;
            () = turned(&mut self.cancel) => Err("cancelled".to_owned()),
            before = &mut self.before => before.map_err(|e| format!("a check broke off: {e}")),
        };
        let mut all = match before {
            Ok(before) => {
                let rooms = self.rooms.iter().zip(before);
                rooms
                    .flat_map(|(room, before)| {
                        let after = preflight::after(room, &before, sessions);
                        [before.checks, after].concat()
                    })
                    .collect()
            }
            Err(why) => {
                self.before.abort();
                // No source is sound by checks that were not made.
                CheckName::OURS.map(|check| Check::new(check, CheckResult::Unknown, why.clone())).to_vec()
            }
        };
        for check in &mut all {
            run.clone_into(&mut check.run);
        }
        all
    }

    /// The verdicts on each target and its sources.
    pub(super) fn gates(
        &self,
        run: &str,
        checks: &[Check],
        sessions: &[Session],
        diagnoses: &[Diagnosis],
        now: Timestamp,
    ) -> Vec<Gate> {
        let mut gates = Vec::new();
        for room in &self.rooms {
            let domain = room.route.domain.as_ref().map(ToString::to_string);
            let sources: Vec<IpAddr> = room.sources.iter().filter(|s| !s.neutral).map(|s| s.address).collect();
            let settings = &room.probe.gate;
            let ground =
                Ground { domain: domain.as_deref(), settings, sources: &sources, checks, sessions, diagnoses, now };
            gates.extend(gate::verdicts(&ground));
        }
        for gate in &mut gates {
            run.clone_into(&mut gate.run);
        }
        gates
    }
}
