//! Do failures come when query time is high?
//!
//! Measured on bins, anchored on failures, and tested against all circular shifts of the failures:
//! both series have a memory, and a test that ignores it finds coincidences everywhere.

use trace::Micros;

use crate::finding::{Bin, Coincidence, Timeline};
use crate::stats;

/// With fewer bins the smallest possible p-value says nothing.
const BINS_LEAST: usize = 20;

/// Compares the bins with failures with those without. `None` if one of the groups is empty, or the
/// recording too short to tell.
pub(crate) fn of(timeline: &Timeline) -> Option<Coincidence> {
    if timeline.bins.len() < BINS_LEAST {
        return None;
    }
    let failing: Vec<bool> = timeline.bins.iter().map(|bin| bin.failures > 0).collect();
    let query_time: Vec<Option<f64>> =
        timeline.bins.iter().map(|bin| known(bin).map(Micros::as_secs_f64)).collect();
    let separation = stats::separation(&failing, &query_time)?;
    let median = |wanted: bool| {
        let bins = timeline.bins.iter().filter(|bin| (bin.failures > 0) == wanted);
        stats::percentile(&mut bins.filter_map(known).collect::<Vec<_>>(), 50)
    };
    Some(Coincidence {
        auc: separation.auc,
        p_value: separation.p_value,
        query_time_failing: median(true)?,
        query_time_healthy: median(false)?,
    })
}

/// The query time of a bin in which any query ended.
fn known(bin: &Bin) -> Option<Micros> {
    (bin.query_p95 > Micros::ZERO).then_some(bin.query_p95)
}
