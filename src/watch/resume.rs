//! What a watch remembers of the one before it: open incidents, and the latest rounds.

use jiff::{SignedDuration, Timestamp};

use crate::history::HistoryError;
use crate::history::archive::{Archive, Filter};
use crate::incident::{Round, Tracker};
use crate::record::Line;
use crate::web::Board;

/// So many rounds are remembered: more than any rule asks for that is not about an open incident.
const ROUNDS: usize = 40;

/// Of an incident that lasts longer only this much is judged again.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Gives a probe's tracker and the board their past back, and says which keys the open incidents have.
pub(super) fn resume(
    archive: &mut dyn Archive,
    probe: &str,
    tracker: &mut Tracker,
    board: &Board,
) -> Result<Vec<(u64, u64)>, HistoryError> {
    let of_probe = Filter { probe: Some(probe.to_owned()), ..Filter::default() };
    // The newest come first, and the oldest was opened first.
    let mut open = archive.incidents(&of_probe, true)?;
    open.reverse();
    let numbers: Vec<u64> = open.iter().map(|incident| incident.id).collect();
    let opened = open.iter().map(|incident| incident.opened.after.unwrap_or(incident.opened.by)).min();
    let keys = tracker.resume(open);
    let now = Timestamp::now();
    let since = opened.unwrap_or(now).max(now.saturating_sub(LONGEST).unwrap_or(now));
    let limit = Some(if opened.is_some() { ROUNDS * 10 } else { ROUNDS });
    let since = if opened.is_some() { Some(since) } else { None };
    let mut round: Vec<Line> = Vec::new();
    archive.lines(&Filter { since, limit, ..of_probe }, &mut |line| {
        if matches!(line, Line::Run(_)) {
            round.clear();
        }
        let over = matches!(line, Line::Summary(_));
        round.push(line);
        if over {
            board.remember(probe, &round);
            tracker.remember(Round { at: ended(&round), lines: &round });
        }
        true
    })?;
    Ok(keys.into_iter().zip(numbers).collect())
}

/// When a round on record was over, as far as its sessions say.
fn ended(lines: &[Line]) -> Timestamp {
    let times = lines.iter().filter_map(|line| match line {
        Line::Run(run) => Some(run.at),
        Line::Session(session) => Some(session.at),
        _ => None,
    });
    times.max().unwrap_or_default()
}
