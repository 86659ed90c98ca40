//! Act 3. In staging nothing fails: the fault appears only under load.

use load::Ramp;
use proxy::Mode;

use super::super::scene::{Restart, Scene};
use super::super::{Shown, Stage, Tale};

/// Staging's rate, as a share of the incident's.
pub(super) const LOW: f64 = 0.1;

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    let span = stage.timing().low;
    let rate = tale.rate * LOW;
    let scene = Scene {
        name: "low-rate".to_owned(),
        mode: Mode::Observe,
        model: stage.customers(),
        ramp: Ramp::constant(rate, span),
        seed: tale.seed,
        restarts: vec![Restart::web(1, span / 3)],
        compare: None,
    };
    let take = stage.play(&scene).await?;
    tale.note(&take);
    let (requests, failed) = (take.load.offered, take.failed());
    tale.curve.push(take.point(rate));
    tale.low = Some(take);
    Ok(Shown {
        ok: failed == 0 && requests > 0,
        sentence: format!(
            "at {rate:.1}/s, with the same restart, {failed} of {requests} requests failed"
        ),
        details: Vec::new(),
    })
}
