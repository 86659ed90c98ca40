//! A closed loop: what a target can serve when it is never left idle.
//!
//! Not a load test: a closed loop slows down with its target and so hides what customers would
//! see (coordinated omission). It answers one question only, how many requests a second there can
//! be, so that an open-loop run can be put in proportion to it.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::mix::Mix;
use crate::{Error, Model, Target};

/// Requests per second that `target` answers without failure when each of `clients` sends its next
/// request as soon as the previous one was answered, for `span`.
///
/// # Errors
/// As [`run`](crate::run()).
pub async fn closed(
    model: &Model,
    target: &Target,
    clients: usize,
    span: Duration,
    seed: u64,
) -> Result<f64, Error> {
    let mix = target.prepare(model).await?;
    let start = Instant::now();
    let mut running = JoinSet::new();
    for client in 0..clients {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(u64::try_from(client).unwrap_or(u64::MAX));
        running.spawn(one_client(mix.clone(), target.clone(), chance, start + span));
    }
    let mut answered = 0_u32;
    while let Some(client) = running.join_next().await {
        answered = answered.saturating_add(client.unwrap_or(0));
    }
    Ok(f64::from(answered) / span.as_secs_f64())
}

/// Requests answered without failure until `end`.
async fn one_client(mix: Mix, target: Target, mut chance: ChaCha8Rng, end: Instant) -> u32 {
    let mut answered = 0;
    // A target that refuses at once would be asked in a hot loop: it gets the time to be asked
    // again.
    let pause = Duration::from_millis(1);
    while let Ok(ended) = timeout_at(end, target.send(mix.draw(&mut chance))).await {
        match ended {
            Ok(()) => answered += 1,
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
    answered
}
