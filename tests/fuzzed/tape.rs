//! Bytes as a list of decisions: what a fuzzer turns, a world turns with it.

/// Decisions that are still to be made.
#[derive(Clone)]
pub(super) struct Tape<'a>(pub(super) &'a [u8]);

impl<'a> Tape<'a> {
    pub(super) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; zero for ever behind the end.
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// The next `n` bytes, fewer at the end.
    pub(super) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
