//! How far a run has come, on standard error while it lasts.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::record::Session;
use crate::status::failed;

/// A bar with the expected end and what failed so far. Where it is not wanted, or standard error
/// is no terminal, nothing is drawn.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    failed: u64,
}

impl Progress {
    /// A bar of `total` sessions.
    #[must_use]
    pub fn new(total: u64, enabled: bool) -> Self {
        let target = if enabled { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Some(style) = style() {
            bar.set_style(style);
        }
        bar.tick();
        Self { bar, failed: 0 }
    }

    /// Counts a session that ended.
    pub fn session(&mut self, session: &Session) {
        if failed(session) {
            self.failed += 1;
            self.bar.set_message(format!("{} failed", self.failed));
        }
        self.bar.inc(1);
        // Pairs, and names that do not resolve, come on top of what was planned.
        if self.bar.length().is_some_and(|planned| planned < self.bar.position()) {
            self.bar.inc_length(1);
        }
    }

    /// Says something else beside the bar.
    pub fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Has something written to the terminal that the bar is on, and draws the bar below it again.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away: what follows is the result.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> Option<ProgressStyle> {
    // One line of 80 columns, or every redrawing would scroll.
    let template = "{bar:16} {pos}/{len} sessions, {eta} to go  {wide_msg}";
    ProgressStyle::with_template(template).ok()
}

#[cfg(test)]
mod tests {
    use super::Progress;
    use crate::record::Line;

    #[test]
    fn the_bar_counts_and_goes() {
        let mut progress = Progress::new(5, false);
        for kind in ["completed", "rejected", "local", "dropped"] {
            let line = format!(r#"{{"type":"session","seq":1,"at":"2026-11-24T10:02:11Z","kind":"{kind}"}}"#);
            let Ok(Some(Line::Session(session))) = Line::parse(&line) else { panic!("{line}") };
            progress.session(&session);
        }
        assert_eq!((progress.bar.position(), progress.bar.message().as_str()), (4, "2 failed"));
        assert!(progress.bar.is_hidden() && !progress.bar.is_finished());
        progress.finish();
        assert!(progress.bar.is_finished());
    }

    #[test]
    fn the_template_is_one() {
        assert!(super::style().is_some());
    }
}
