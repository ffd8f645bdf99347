//! The limits of a run over a whole matrix, and the least that they allow.

/// How many sessions at once.
pub(crate) struct Limits {
    pub(crate) per_address: usize,
    pub(crate) per_provider: usize,
}

impl Limits {
    /// So many rounds of sessions as the tighter of the two limits asks for.
    pub(crate) fn rounds(&self, sources: usize, addresses: usize) -> usize {
        sources.div_ceil(self.per_address).max((sources * addresses).div_ceil(self.per_provider))
    }
}
