//! What a person sees while waiting: one line that moves, and lines that stay.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A moving line on stderr; nothing at all where stderr is no terminal, except the lines that stay.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A moving line, still empty.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner:.cyan} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// What is being done right now.
    pub(crate) fn now(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// A line that stays above the moving one.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| crate::out::talk(text));
    }

    /// Takes the moving line away.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
