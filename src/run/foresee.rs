//! What a round will take, before there is one: for the arithmetic of a watch's budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::layout::{Extent, lay_out, whole};
use super::{RunError, Setup, resolve, terms};
use crate::ledger::{Account, Ground};
use crate::plan::{self, Plan};
use crate::schedule::budget::Take;

/// What a round takes at most.
#[derive(Clone, Debug, Default)]
pub struct Foreseen {
    /// By provider; empty where nothing resolves now.
    pub takes: Vec<Take>,
    /// From its first start to its last one, at least.
    pub lasts: Duration,
    /// What is not probed, in words.
    pub left_out: Vec<String>,
}

/// As many turns are looked at: of those behind them no provider takes more than of these, unless
/// its exchangers are spread over very many providers.
const TURNS: u64 = 16;

/// Looks everything up and plans, and opens nothing. `full` rounds are the whole matrix, others one
/// address per source.
///
/// # Errors
///
/// What would keep the round from starting.
pub async fn foresee(setup: Setup, full: bool) -> Result<Foreseen, RunError> {
    // Whoever stops the watch drops this.
    let (_going, cancel) = watch::channel(false);
    let resolved = resolve::resolve(&setup.probes, &setup.dns, setup.dane, &cancel).await?;
    let plan = whole(&lay_out(&setup.probes, &resolved, setup.seed, &Extent::Whole));
    let mut terms = terms::Terms::default();
    terms.see(&plan);
    terms.check(&plan, setup.ledger.unkept())?;
    let rounds: Vec<Plan> = if full {
        vec![plan.clone()]
    } else {
        (0..plan::turns(&plan).min(TURNS)).map(|number| plan::turn(plan.clone(), number, 1)).collect()
    };
    let mut most: BTreeMap<Account, Take> = BTreeMap::new();
    for round in &rounds {
        for take in takes(round, &terms).into_values() {
            match most.get_mut(&take.account) {
                Some(known) => known.sessions = known.sessions.max(take.sessions),
                None => _ = most.insert(take.account.clone(), take),
            }
        }
    }
    let lasts = rounds.iter().map(Plan::lasts).max().unwrap_or_default();
    Ok(Foreseen { takes: most.into_values().collect(), lasts, left_out: plan.left_out })
}

fn takes(round: &Plan, terms: &terms::Terms) -> BTreeMap<Account, Take> {
    let mut takes: BTreeMap<Account, Take> = BTreeMap::new();
    for (attempt, count) in round.counted().filter(|(attempt, _)| attempt.address.is_some() && attempt.fault.is_none())
    {
        let (account, ground): (Account, Ground) = (terms.account(attempt), terms.ground(&attempt.provider));
        let take = takes.entry(account.clone()).or_insert_with(|| {
            let limits = attempt.probe.limits.clone();
            Take { account, ground, sessions: 0, limits }
        });
        take.sessions += count;
    }
    takes
}
