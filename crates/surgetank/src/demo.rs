//! The story: a platform engineer's day in eight acts, on a real PostgreSQL with a real app.
//!
//! ```text
//! timing  how long each act may take
//! stage   the PostgreSQL, the shop and its folder; plays one scene and returns what was measured
//! scene   a scene: mode, arrivals, restarts, the command that is compared; and its take
//! acts/*  one file per act: plays scenes, judges, and says what it showed in one sentence
//! tale    what the acts hand on to each other, and in the end to the report
//! ```
//! Nothing is staged for the diagnosis: the acts only set rates, restart dynos as platforms do
//! daily, and apply the fixes. An act that does not show what it says makes the exit code 1.

mod acts;
mod compare;
mod scene;
mod stage;
mod tale;
mod timing;

use std::path::PathBuf;
use std::time::Duration;

use report::Part;
use tokio::time::Instant;

pub(crate) use stage::Stage;
pub(crate) use tale::Tale;
pub(crate) use timing::{SECONDS_BOUNDS, SECONDS_DEFAULT, Timing};

use crate::cli::PostgresArgs;
use crate::progress::Progress;

/// What the user asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seconds: u32,
    pub(crate) seed: u64,
    /// Jobs of the shop's worker that are left out.
    pub(crate) without: Vec<String>,
    /// Where the recordings go.
    pub(crate) recordings: PathBuf,
    pub(crate) postgres: PostgresArgs,
}

/// What an act showed.
pub(crate) struct Shown {
    /// Whether it did what it says.
    pub(crate) ok: bool,
    /// One sentence.
    pub(crate) sentence: String,
    /// More, a line each.
    pub(crate) details: Vec<String>,
}

/// An act by name, and the section of the report that holds its evidence.
struct Act(&'static str, Part);

/// Plays all acts. An error means that the story could not be played at all; an act that failed
/// to show its point is told in the tale.
pub(crate) async fn play(options: &Options, progress: &Progress) -> anyhow::Result<Tale> {
    let stage = Stage::set_up(options, progress).await?;
    let mut tale = Tale::new(options, &stage);
    let played = play_acts(&stage, &mut tale, progress).await;
    progress.now("taking the stage down");
    stage.take_down().await;
    played.map(|()| tale)
}

/// The acts in order, each told as it ends.
async fn play_acts(stage: &Stage, tale: &mut Tale, progress: &Progress) -> anyhow::Result<()> {
    macro_rules! play {
        ($name:literal, $part:ident, $act:expr) => {{
            progress.now($name);
            let start = Instant::now();
            let shown = $act?;
            tell(tale, progress, &Act($name, Part::$part), start.elapsed(), shown);
        }};
    }
    play!("bug report", Baseline, acts::bug_report::play(stage, tale).await);
    play!("two dynos", RunCompare, anyhow::Ok(acts::two_dynos::play(tale)));
    play!("staging", Curve, acts::staging::play(stage, tale).await);
    play!("tracking", Timeline, acts::tracking::play(tale));
    play!("load", Curve, acts::load::play(stage, tale).await);
    play!("diagnosis", Causes, anyhow::Ok(acts::diagnosis::play(tale)));
    play!("fix", Arms, acts::fix::play(stage, tale).await);
    play!("proof", Proof, acts::proof::play(stage, tale).await);
    Ok(())
}

fn tell(tale: &mut Tale, progress: &Progress, act: &Act, elapsed: Duration, shown: Shown) {
    let number = tale.acts.len() + 1;
    let mark = if shown.ok { "✓" } else { "✗" };
    progress.line(&format!("{mark} {number}/8 {:<10} {}", act.0, shown.sentence));
    tale.acts.push(report::ActSummary {
        name: act.0.to_owned(),
        ok: shown.ok,
        seconds: elapsed.as_secs_f64(),
        sentence: shown.sentence,
        details: shown.details,
        evidence: Some(act.1),
    });
}
