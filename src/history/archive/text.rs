//! Texts of which the file has one copy each, under a number.
//!
//! A round says much that every round before it has said: the same cells, endings, servers. What is
//! the same is written once, and found again by a digest.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::Fault;

/// So many texts are remembered; a round of 1,000 sessions has as many cells.
const REMEMBERED: usize = 8192;

/// The numbers of texts met lately, so that most need no look into the file. It is thrown away with
/// every transaction that fails, for its numbers may be nobody's.
#[derive(Debug, Default)]
pub(super) struct Texts {
    known: HashMap<Box<str>, Known>,
    /// Replies by their raw lines.
    pub(super) replies: HashMap<Box<str>, (Known, Option<String>)>,
}

/// A number, and the day that its row was last seen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) day: i64,
}

impl Texts {
    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.replies.clear();
    }

    /// The text's number on that day. What was seen today is not forgotten today, whoever shares
    /// the file: only from another day on does it need another look.
    pub(super) fn number(&mut self, transaction: &Transaction<'_>, text: &str, day: i64) -> Result<i64, Fault> {
        if let Some(known) = self.known.get(text).filter(|known| known.day == day) {
            return Ok(known.id);
        }
        let digest = digest(text);
        let found = transaction
            .prepare_cached("SELECT id, seen FROM text WHERE digest = ? AND text = ?")?
            .query_row(params![digest, text], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let id = match found {
            Some((id, seen)) => {
                see(transaction, "text", id, seen, day)?;
                id
            }
            None => transaction
                .prepare_cached("INSERT INTO text (digest, seen, text) VALUES (?, ?, ?)")?
                .insert(params![digest, day, text])?,
        };
        remember(&mut self.known, text, Known { id, day });
        Ok(id)
    }
}

/// Notes that the row was seen on that day.
pub(super) fn see(transaction: &Transaction<'_>, table: &str, id: i64, seen: i64, day: i64) -> Result<(), Fault> {
    if seen < day {
        let update = format!("UPDATE {table} SET seen = ? WHERE id = ?");
        transaction.prepare_cached(&update)?.execute([day, id])?;
    }
    Ok(())
}

/// Puts one more in, and begins anew when there are too many.
pub(super) fn remember<T>(known: &mut HashMap<Box<str>, T>, text: &str, value: T) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(text.into(), value);
}

/// A number that finds a text again (FNV-1a, 64 bits). Two texts may share it.
pub(super) fn digest(text: &str) -> i64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}
