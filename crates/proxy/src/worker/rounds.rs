//! What is done again and again, by the first worker for all.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::Mode;
use crate::regulate::House;
use crate::timer::interval;

/// How often the pool is sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How often the pool's connections are tended.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Samples in a period of averages: a minute (`PgBouncer`'s `stats_period`).
const TICKS_OF_A_PERIOD: u64 = 600;

/// Ten times a second.
pub(super) async fn sample(shared: Arc<Shared>) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0_u64.. {
        ticks.tick().await;
        if shared.mode == Mode::Regulate {
            shared.databases.tick(&shared.journal);
        }
        if number % TICKS_OF_A_PERIOD == 0 {
            shared.journal.roster.end_period(shared.journal.now());
        }
    }
}

/// Once a second, for each database on its own: a server that does not answer holds up no other.
pub(super) async fn tend(shared: Arc<Shared>, worker: usize) {
    let mut ticks = interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tending: HashMap<Box<str>, AbortHandle> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        ticks.tick().await;
        while tasks.try_join_next().is_some() {}
        tending.retain(|_, task| !task.is_finished());
        for house in shared.databases.houses() {
            let label = house.database().label().into();
            if let hash_map::Entry::Vacant(free) = tending.entry(label) {
                free.insert(tasks.spawn(async move {
                    house.tend(worker).await;
                    house.look_at_catalogue(worker).await;
                }));
            }
        }
    }
}

/// Speaks with other proxies and watches kept places, for each database on its own and for as long
/// as it is one of ours.
pub(super) async fn attend(shared: Arc<Shared>, worker: usize) {
    let mut ticks = interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut attending: Vec<(Arc<House>, AbortHandle)> = Vec::new();
    let mut tasks = JoinSet::new();
    loop {
        ticks.tick().await;
        while tasks.try_join_next().is_some() {}
        let houses: Vec<Arc<House>> = shared.databases.houses().collect();
        let has = |houses: &[Arc<House>], one: &Arc<House>| {
            houses.iter().any(|house| Arc::ptr_eq(house, one))
        };
        let gone = attending.extract_if(.., |(house, _)| !has(&houses, house));
        gone.for_each(|(_, task)| task.abort());
        for house in houses {
            if attending.iter().all(|(one, _)| !Arc::ptr_eq(one, &house)) {
                let attended = Arc::clone(&house);
                let task = tasks.spawn(async move {
                    let gate = Arc::clone(&attended.gate);
                    tokio::join!(attended.confer(worker), gate.watch_places());
                });
                attending.push((house, task));
            }
        }
    }
}
