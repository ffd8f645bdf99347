//! Two probes at one cell.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_probes_that_meet_at_a_cell_are_both_tried_to_their_ends() {
    let limits = Limits { attempts: 3, pace: Duration::from_secs(1), ..World::default().limits };
    let world = World { limits, sources: 1, addresses: 1, ..World::default() };
    let ((first, terms), (second, _)) = (world.plan(), world.plan());
    let stretches = [first, second].into_iter().flat_map(|plan| plan.stretches).collect();
    let clock = Clock::start();
    let ledger = Box::new(RunLedger::default());
    let rules = Rules { run: "run".to_owned(), clock, terms, ledger, seed: 7, room: usize::MAX };
    let fake = Fake { clock, lasts: Duration::ZERO, fault: None, reply: None, started: Arc::default() };
    let (_stop, cancel) = watch::channel(false);
    let mut out = start(Plan { stretches, left_out: vec![] }, rules, fake, cancel);
    let all = async {
        let mut numbers = Vec::new();
        while let Some((session, _)) = out.recv().await {
            numbers.push(session.attempt);
        }
        numbers
    };
    let numbers = tokio::time::timeout(Duration::from_mins(1), all).await.unwrap();
    assert_eq!(numbers, [1, 1, 2, 2, 3, 3]);
}
