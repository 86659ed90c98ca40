//! Act 8. Uptime is the last proof: restart after restart under load, until chance is ruled out.

use diagnose::compare::prove;
use load::Ramp;
use proxy::Mode;

use super::super::scene::{Restart, Scene};
use super::super::tale::CONFIDENCE;
use super::super::{Shown, Stage, Tale};

/// Restarts in the first stretch.
const CYCLES: u32 = 6;
/// Most stretches before the proof is given up.
const STRETCHES_MAX: u32 = 3;

pub(crate) async fn play(stage: &Stage, tale: &mut Tale) -> anyhow::Result<Shown> {
    for stretch in 1..=STRETCHES_MAX {
        play_stretch(stage, tale, stretch).await?;
        let proof = prove(tale.before, tale.after, CONFIDENCE);
        tale.proof = Some(proof);
        if proof.confidence >= CONFIDENCE || tale.after.failed > 0 {
            break;
        }
    }
    Ok(tell(tale))
}

/// A stretch of load in which web.1 and web.2 are restarted in turn.
async fn play_stretch(stage: &Stage, tale: &mut Tale, stretch: u32) -> anyhow::Result<()> {
    let cycle = stage.timing().cycle;
    let restart = |n: u32| Restart::web(n % 2 + 1, cycle / 2 + cycle * n);
    let scene = Scene {
        name: format!("proof-{stretch}"),
        mode: Mode::Regulate,
        model: tale.learnt.as_ref().unwrap_or(stage.customers()),
        ramp: Ramp::constant(tale.rate, cycle * CYCLES + cycle / 2),
        // Other customers than in act 7: the proof must not hang on one sequence.
        seed: tale.seed.wrapping_add(u64::from(stretch)),
        restarts: (0..CYCLES).map(restart).collect(),
        compare: None,
    };
    let span = scene.ramp.span();
    let take = stage.play(&scene).await?;
    tale.note(&take);
    tale.count_after(&take, span);
    Ok(())
}

fn tell(tale: &Tale) -> Shown {
    let Some(proof) = tale.proof else {
        return Shown { ok: false, sentence: "nothing was proven".into(), details: vec![] };
    };
    let (before, after) = (proof.before, proof.after);
    Shown {
        ok: proof.confidence >= CONFIDENCE && after.failed == 0,
        sentence: format!(
            "{:.0} s under load without a failure; {} of {} restarts failed before, \
             {} of {} after: chance is ruled out at {:.1} %",
            tale.failure_free.as_secs_f64(),
            before.failed,
            before.total,
            after.failed,
            after.total,
            // Never rounded up to a certainty that is not there.
            (proof.confidence * 1000.0).floor() / 10.0
        ),
        details: vec![format!(
            "needed for {:.0} %: {} restarts without a failure",
            CONFIDENCE * 100.0,
            proof.needed.map_or("no number of".to_owned(), |needed| needed.to_string())
        )],
    }
}
