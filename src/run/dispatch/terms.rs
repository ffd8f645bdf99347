//! On whose terms a provider is probed: ceilings, budgets and rests hold where it is not our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::{Attempt, Plan};
use crate::record::Role;
use crate::run::RunError;

/// On whose terms each provider is probed: ceilings and budgets hold where it is not our own.
#[derive(Debug, Default)]
pub(in crate::run) struct Terms(BTreeMap<Arc<str>, bool>);

impl Terms {
    /// Takes in one planned session. A provider is our own when all its addresses are loopback, or
    /// when the operator says so of the target.
    pub(in crate::run) fn see(&mut self, attempt: &Attempt) {
        let Some(address) = attempt.address else { return };
        let own = address.ip().is_loopback() || (attempt.probe.target.own_mx && attempt.role != Role::Control);
        self.0.entry(Arc::clone(&attempt.provider)).and_modify(|all| *all &= own).or_insert(own);
    }

    pub(super) fn own(&self, provider: &str) -> bool {
        self.0.get(provider).copied().unwrap_or(false)
    }

    /// Refuses limits over a ceiling, and rests ignored, where the target is not our own.
    pub(in crate::run) fn check(&self, plan: &Plan) -> Result<(), RunError> {
        let foreign = plan.attempts.iter().filter(|a| a.address.is_some() && !self.own(&a.provider));
        for attempt in foreign {
            if let Some(over) = attempt.probe.limits.over_ceiling() {
                return Err(RunError::OverCeiling(over));
            }
            if attempt.probe.ignore_rest {
                let provider = &attempt.provider;
                return Err(RunError::Config(format!(
                    "--ignore-rest: {provider} is not yours, and its rests are kept"
                )));
            }
        }
        Ok(())
    }
}
