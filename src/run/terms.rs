//! On whose terms a plan is carried out: what is refused before anything is sent, and what it takes
//! from whose budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RunError;
use crate::ledger::{Account, Ground};
use crate::limits::Limits;
use crate::plan::{Attempt, Plan};
use crate::record::Role;

/// On whose ground each provider stands: ceilings and budgets hold where it is not our own.
#[derive(Debug, Default)]
pub(super) struct Terms(BTreeMap<Arc<str>, Ground>);

impl Terms {
    /// Takes in what is planned. A provider is our own when all its addresses are loopback, or
    /// when the operator says so of the target.
    pub(super) fn see(&mut self, plan: &Plan) {
        plan.firsts().for_each(|attempt| self.session(attempt));
    }

    fn session(&mut self, attempt: &Attempt) {
        let Some(address) = attempt.address else { return };
        let own = attempt.probe.target.own_mx && attempt.role != Role::Control;
        let addresses = attempt.alternatives.iter().filter_map(|next| next.address).chain([address]);
        let grounds = addresses.map(|address| match address.ip().is_loopback() {
            true => Ground::Loopback,
            false if own => Ground::Own,
            false => Ground::Foreign,
        });
        let ground = grounds.max().unwrap_or(Ground::Foreign);
        self.0.entry(Arc::clone(&attempt.provider)).and_modify(|kept| *kept = ground.max(*kept)).or_insert(ground);
    }

    pub(super) fn ground(&self, provider: &str) -> Ground {
        self.0.get(provider).copied().unwrap_or(Ground::Foreign)
    }

    /// What the plan takes from each provider's budgets, in words.
    pub(super) fn budgets(&self, plan: &Plan) -> Vec<String> {
        let mut takes: BTreeMap<&str, (u64, &Limits)> = BTreeMap::new();
        for (attempt, count) in plan.counted().filter(|(attempt, _)| attempt.address.is_some()) {
            takes.entry(&attempt.provider).or_insert((0, &attempt.probe.limits)).0 += count;
        }
        let say = |(provider, (sessions, limits)): (&str, (u64, &Limits))| {
            let Limits { per_hour, per_day, rate, .. } = limits;
            if self.ground(provider) == Ground::Foreign {
                format!("{provider}: {sessions} sessions at up to {rate}, of {per_hour} an hour and {per_day} a day")
            } else {
                format!("{provider}: {sessions} sessions at up to {rate}; no budget, the target is your own")
            }
        };
        takes.into_iter().map(say).collect()
    }

    /// Under what this session is entered in the ledger.
    pub(super) fn account(&self, attempt: &Attempt) -> Account {
        let is_loopback = self.ground(&attempt.provider) == Ground::Loopback;
        let loopback = attempt.address.filter(|_| is_loopback).map(|address| address.port());
        Account { provider: Arc::clone(&attempt.provider), loopback }
    }

    /// Refuses limits over a ceiling, rests ignored, and (with `unkept`, which says why) budgets
    /// that would not be kept, where the target is not our own.
    pub(super) fn check(&self, plan: &Plan, unkept: Option<&str>) -> Result<(), RunError> {
        let is_foreign = |attempt: &Attempt| self.ground(&attempt.provider) == Ground::Foreign;
        for attempt in plan.firsts().filter(|a| a.address.is_some() && is_foreign(a)) {
            let provider = &attempt.provider;
            if let Some(over) = attempt.probe.limits.over_ceiling() {
                return Err(RunError::OverCeiling(over));
            }
            if attempt.probe.ignore_rest {
                return Err(RunError::Config(format!(
                    "--ignore-rest: {provider} is not yours, and its rests are kept"
                )));
            }
            if let Some(why) = unkept {
                return Err(RunError::Config(format!("{why}; {provider} is not yours, and its budgets are kept")));
            }
        }
        Ok(())
    }
}
