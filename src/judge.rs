use crate::{record::{Line, Diagnosis}, catalog::Catalog};
#[derive(Default)]
pub struct Evidence;
impl Evidence { pub fn new() -> Self { Self } pub fn add(&mut self, _: Line) {} }
pub fn judge(_: &Evidence, _: &Catalog) -> Vec<Diagnosis> { vec![] }
