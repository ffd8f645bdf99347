//! One cell's attempts, of which none starts before the one before it has.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::Instant;

use crate::plan::Attempt;
use crate::record::{Role, Variant};

/// What makes two attempts attempts at the same cell: address, source, recipient, role.
pub(super) type Cell = (Option<SocketAddr>, Option<IpAddr>, Option<String>, Role);

pub(super) fn cell(attempt: &Attempt) -> Cell {
    let to = attempt.to.as_ref().map(ToString::to_string);
    (attempt.address, attempt.source.as_ref().map(|source| source.address), to, attempt.role)
}

/// What is still to be done at a cell.
pub(super) struct Lane {
    /// The address it is at, by its place among the queue's.
    pub(super) address: usize,
    pub(super) role: Role,
    /// The next attempt and its place in the plan's order.
    pub(super) head: Option<(u64, Arc<Attempt>)>,
    pub(super) todo: VecDeque<Todo>,
    /// How many attempts there were before this plan.
    pub(super) before: u32,
    /// How many there were so far, and when the pace allows the next one.
    pub(super) so_far: Option<(u32, Instant)>,
    /// It holds one session only, which is no further attempt at its cell.
    pub(super) is_once: bool,
}

/// What a lane has behind its head.
pub(super) enum Todo {
    One(u64, Arc<Attempt>),
    /// The cell with this index in these orders, from this round on.
    Again {
        orders: usize,
        cell: usize,
        round: u64,
    },
}

impl Lane {
    /// A lane that goes on where `so_far` stopped.
    pub(super) fn new(address: usize, role: Role, so_far: Option<(u32, Instant)>) -> Self {
        let before = so_far.map_or(0, |(number, _)| number);
        Self { address, role, head: None, todo: VecDeque::new(), before, so_far, is_once: false }
    }

    /// When the pace allows the attempt that is next, where it knows of any before it.
    pub(super) fn paced(&self, attempt: &Attempt) -> Option<Instant> {
        let is_further = attempt.number > 1 && attempt.variant != Variant::Plaintext;
        self.so_far.filter(|_| is_further).map(|(_, due)| due)
    }
}
