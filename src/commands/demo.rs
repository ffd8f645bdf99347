//! `demo`: the AOL incident of October 2012, simulated on loopback, probed for real, diagnosed.

use std::io;
use std::sync::Arc;

use super::run::shown;
use super::show::Show;
use super::{Done, Failure, catalog, runtime};
use crate::address::Host;
use crate::cli::demo::DemoArgs;
use crate::dns::Dns;
use crate::ledger::RunLedger;
use crate::limits::Rate;
use crate::probe::Probe;
use crate::probe::layer::{LimitsLayer, ProbeLayer};
use crate::run::Setup;
use crate::sim::{Ports, Provider, Scenario};
use crate::source::SourceSpec;
use crate::stage::Stage;
use crate::wire::Trust;

pub(super) fn demo(args: &DemoArgs) -> Done {
    let mut show = Show::open(&args.output.with(args.format), args.record.as_deref())?;
    let scenario = Scenario::parse("aol-2012.toml", Scenario::aol_2012()).map_err(Failure::config)?;
    show.preface(&format!("{}\n\n", scenario.description));
    runtime()?.block_on(async {
        let provider = Provider::start(scenario, Ports::default()).await;
        let provider = provider.map_err(|e| Failure::ours(format!("the simulated provider: {e}")))?;
        let end = shown(setup(&provider, args)?, show).await?;
        let told = end.unread || end.diagnoses.is_empty() || provider.scenario().is_told_by(&end.diagnoses);
        Ok(match end.status {
            0 | 1 => u8::from(!told),
            ours => ours,
        })
    })
}

/// The run that the scenario's author means. The target is ours, so nobody minds its pace.
fn setup(provider: &Provider, args: &DemoArgs) -> Result<Setup, Failure> {
    let scenario = provider.scenario();
    let probes = scenario.probe.targets.iter().map(|target| probe(provider, target));
    let probes = probes.collect::<Result<Vec<_>, _>>()?;
    let patience = probes.iter().map(|probe| probe.timeouts.get(Stage::Resolve)).max().unwrap_or_default();
    Ok(Setup {
        dns: Dns::new(&[provider.dns()], patience),
        trust: Trust::system(),
        ledger: Box::new(RunLedger::default()),
        catalog: catalog(&[] as &[&str])?,
        seed: args.seed.unwrap_or(scenario.seed),
        dane: false,
        dry_run: false,
        transcript: args.transcript,
        simulated: true,
        probes,
    })
}

fn probe(provider: &Provider, target: &Host) -> Result<Arc<Probe>, Failure> {
    let suggested = &provider.scenario().probe;
    let rate = Rate { starts: 1000, per: std::time::Duration::from_secs(1) };
    let layer = ProbeLayer {
        domain: Some(target.clone()),
        control: suggested.control.clone(),
        port: Some(provider.port()),
        sources: suggested.sources.iter().copied().map(SourceSpec::Address).collect(),
        neutral: suggested.neutral.clone(),
        until: Some(suggested.until),
        limits: LimitsLayer { per_provider: Some(8), rate: Some(rate), ..LimitsLayer::default() },
        ..ProbeLayer::default()
    };
    let nothing_to_read = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
    layer.settle(nothing_to_read).map(Arc::new).map_err(Failure::config)
}
