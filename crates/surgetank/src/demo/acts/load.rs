//! Act 5. A load generator learnt from the incident's recording raises the rate, and failures grow
//! with it: a curve with its knee.

use anyhow::Context;
use load::{Curve, Point, Ramp};
use recording::Recording;

use super::super::scene::Scene;
use super::super::tale::CONFIDENCE;
use super::super::{Shown, Stage, Tale};
use super::staging;

/// A rate fails when more than this share of its requests does.
const THRESHOLD: f64 = 0.005;
/// Rates, as shares of the incident's; act 3 was the first point.
const SHARES: [f64; 3] = [0.4, 0.7, 1.0];

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    let take = tale.incident.as_ref().context("act 1 was not played")?;
    let recording = Recording::read(&take.recording).context("the incident's recording")?;
    let model = load::learn(&recording)?;
    let span = stage.timing().point;
    let mut points = vec![low_point(tale)?];
    for share in SHARES {
        let rate = tale.rate * share;
        let name = format!("load-{:.0}-percent", share * 100.0);
        let ramp = Ramp::constant(rate, span);
        let scene = Scene::with_one_restart(name, &model, ramp, tale.seed);
        let take = stage.play(&scene).await?;
        tale.note(&take);
        if share >= 1.0 {
            tale.count_before(&take);
        }
        points.push(Point::new(rate, &take.load));
        tale.curve.push(take.point(rate));
    }
    tale.knee = Curve::new(points).knee(THRESHOLD, CONFIDENCE).map(|knee| knee.rate);
    tale.learnt = Some(model);
    Ok(tell(tale))
}

/// Act 3 was the curve's first point.
fn low_point(tale: &Tale) -> anyhow::Result<Point> {
    let low = tale.low.as_ref().context("act 3 was not played")?;
    Ok(Point::new(tale.rate * staging::LOW, &low.load))
}

fn tell(tale: &Tale) -> Shown {
    let shares: Vec<f64> = tale.curve.iter().map(report::CurvePoint::failed_share).collect();
    let (first, last) = (shares.first().copied(), shares.last().copied());
    let grows = first.zip(last).is_some_and(|(first, last)| first == 0.0 && last > 0.0);
    let knee = tale.knee.map_or("no knee found".to_owned(), |rate| format!("knee at {rate:.0}/s"));
    let points = tale.curve.iter().map(|point| {
        format!(
            "{:.1}/s: {} of {} failed ({:.1} %)",
            point.rate,
            point.failed,
            point.requests,
            point.failed_share() * 100.0
        )
    });
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    Shown {
        ok: grows && tale.knee.is_some(),
        sentence: format!(
            "failures grow with the rate: {}; {knee}",
            shares.iter().map(|share| percent(*share)).collect::<Vec<_>>().join(", ")
        ),
        details: points.collect(),
    }
}
