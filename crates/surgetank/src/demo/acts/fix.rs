//! Act 7. The fixes that the evidence asks for, each alone and together, under the same arrivals.

use load::Ramp;
use proxy::Mode;

use super::super::scene::{Restart, Scene, Take};
use super::super::{Shown, Stage, Tale};

/// One arm: with the index or without, in one mode or the other.
struct Change {
    name: &'static str,
    index: bool,
    mode: Mode,
}

const ARMS: [Change; 4] = [
    Change { name: "baseline", index: false, mode: Mode::Observe },
    Change { name: "index", index: true, mode: Mode::Observe },
    Change { name: "pool", index: false, mode: Mode::Regulate },
    Change { name: "index+pool", index: true, mode: Mode::Regulate },
];

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    let Some(sql) = advised_index(tale) else {
        let sentence = "the evidence asks for no index: nothing to apply".to_owned();
        return Ok(Shown { ok: false, sentence, details: Vec::new() });
    };
    let mut details = vec![sql.clone()];
    for arm in ARMS {
        let built = if arm.index { stage.build_index(&sql).await? } else { Vec::new() };
        let take = play_arm(stage, tale, &arm).await?;
        stage.drop_indexes(&built).await?;
        note(tale, &arm, &take, stage);
        let arm = take.arm();
        details.push(format!(
            "{}: {} of {} failed, p99 {:.0} ms",
            arm.name,
            arm.failed,
            arm.requests,
            arm.p99.as_millis_f64()
        ));
        tale.arms.push(arm);
    }
    // The fix stays for act 8.
    stage.build_index(&sql).await?;
    Ok(tell(tale, details))
}

async fn play_arm(stage: &Stage, tale: &Tale, arm: &Change) -> anyhow::Result<Take> {
    let span = stage.timing().arm;
    let scene = Scene {
        name: arm.name.to_owned(),
        mode: arm.mode,
        model: tale.learnt.as_ref().unwrap_or(stage.customers()),
        ramp: Ramp::constant(tale.rate, span),
        seed: tale.seed,
        restarts: vec![Restart::web(1, span / 4), Restart::web(2, span * 5 / 8)],
        compare: None,
    };
    stage.play(&scene).await
}

fn note(tale: &mut Tale, arm: &Change, take: &Take, stage: &Stage) {
    tale.note(take);
    match (arm.index, arm.mode) {
        (false, Mode::Observe) => tale.count_before(take),
        (true, Mode::Regulate) => tale.count_after(take, stage.timing().arm),
        (true, Mode::Observe) | (false, Mode::Regulate) => {}
    }
}

/// The index that the diagnosis of act 4 advises.
fn advised_index(tale: &Tale) -> Option<String> {
    let diagnosis = tale.diagnosis.as_ref()?;
    diagnosis.advice.iter().find_map(|advice| advice.action.staging_sql())
}

fn tell(tale: &Tale, details: Vec<String>) -> Shown {
    let part = |arm: &diagnose::compare::Arm| format!("{} {}", arm.name, arm.failed);
    let failures: Vec<String> = tale.arms.iter().map(part).collect();
    let failed = |name: &str| tale.arms.iter().find(|arm| arm.name == name).map(|arm| arm.failed);
    Shown {
        ok: failed("baseline").is_some_and(|n| n > 0) && failed("index+pool") == Some(0),
        sentence: format!("failed requests under the same arrivals: {}", failures.join(", ")),
        details,
    }
}
