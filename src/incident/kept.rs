//! The evidence of trouble that lasts, in bounded memory: its beginning and its latest rounds.

use std::collections::VecDeque;

use crate::judge::Evidence;
use crate::record::{Line, Session, Tls};

/// So many lines are kept of a probe in trouble.
const MOST: usize = 3000;

/// Rounds since the first trouble.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    rounds: VecDeque<(u64, Vec<Line>)>,
    lines: usize,
    /// Whether rounds between the beginning and the latest are gone.
    pub(super) is_cut: bool,
}

impl Kept {
    /// Takes in a round: what the judge asks of it.
    pub(super) fn add(&mut self, round: u64, lines: &[Line]) {
        let lines: Vec<Line> = lines.iter().filter_map(slim).collect();
        self.lines += lines.len();
        self.rounds.push_back((round, lines));
        // The beginning says what it was like before and as it came, the latest rounds what it is
        // like now: what is given up is the middle.
        while self.lines > MOST && self.rounds.len() > 2 {
            let mut beginning = 0;
            let at = self.rounds.iter().position(|(_, lines)| {
                beginning += lines.len();
                beginning > MOST / 4
            });
            let at = at.unwrap_or(1).clamp(1, self.rounds.len() - 2);
            self.lines -= self.rounds.remove(at).map_or(0, |(_, lines)| lines.len());
            self.is_cut = true;
        }
    }

    /// Forgets what was before `round`.
    pub(super) fn forget_before(&mut self, round: u64) {
        while self.rounds.front().is_some_and(|(number, _)| *number < round) {
            self.lines -= self.rounds.pop_front().map_or(0, |(_, lines)| lines.len());
        }
        if self.rounds.is_empty() {
            *self = Self::default();
        }
    }

    /// Everything from `round` on, to be judged.
    pub(super) fn evidence(&self, round: u64) -> Evidence {
        let mut evidence = Evidence::new();
        self.since(round).for_each(|(_, lines)| lines.iter().for_each(|line| evidence.add(line)));
        evidence
    }

    /// The sessions from `round` on.
    pub(super) fn sessions(&self, round: u64) -> impl Iterator<Item = &Session> {
        let lines = self.since(round).flat_map(|(_, lines)| lines);
        lines.filter_map(|line| if let Line::Session(session) = line { Some(&**session) } else { None })
    }

    fn since(&self, round: u64) -> impl Iterator<Item = &(u64, Vec<Line>)> {
        self.rounds.iter().filter(move |(number, _)| *number >= round)
    }
}

/// The line without what no rule asks for; `None` where it is no evidence.
fn slim(line: &Line) -> Option<Line> {
    Some(match line {
        Line::Session(session) => {
            let tls = session.tls.as_ref().map(|tls| Tls {
                verified: tls.verified,
                names: tls.names.clone(),
                ..Tls::default()
            });
            let slim = Session {
                tls,
                banner: session.banner.as_ref().and_then(|lines| lines.first()).map(|line| vec![line.clone()]),
                steps: Vec::new(),
                extensions: None,
                reply_base64: None,
                also: Vec::new(),
                ehlo: None,
                ..(**session).clone()
            };
            Line::Session(Box::new(slim))
        }
        Line::Run(_) | Line::Lookup(_) | Line::Check(_) => line.clone(),
        _ => return None,
    })
}
