//! Act 3. In staging nothing fails: the fault appears only under load.

use load::Ramp;

use super::super::scene::Scene;
use super::super::{Shown, Stage, Tale};

/// Staging's rate, as a share of the incident's.
pub(super) const LOW: f64 = 0.1;

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    let span = stage.timing().low;
    let rate = tale.rate * LOW;
    let ramp = Ramp::constant(rate, span);
    let scene = Scene::with_one_restart("low-rate".to_owned(), stage.customers(), ramp, tale.seed);
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
