//! What takes power away now and then: checkpoints, vacuums, neighbours.

use super::{What, World, exponential};

impl World<'_> {
    /// A dip begins or ends.
    pub(super) fn dip(&mut self, nth: usize, begins: bool) {
        let scenario = self.scenario;
        let Some(dip) = scenario.database.dips.get(nth) else { return };
        if let Some(lasts) = self.dips.get_mut(nth) {
            *lasts = begins;
        }
        let lasting = || {
            let dips = scenario.database.dips.iter().zip(&self.dips);
            dips.filter_map(|(dip, lasts)| lasts.then_some(dip))
        };
        let cores = lasting().map(|dip| dip.cores).product();
        let disk = lasting().map(|dip| dip.disk).product();
        self.cores.set_power(self.now, cores);
        self.disk.set_power(self.now, disk);
        let next = if begins { dip.lasts } else { dip.every - dip.lasts };
        let next = if dip.at_random { exponential(&mut self.fate, next) } else { next };
        self.after(next, What::Dip { dip: nth, begins: !begins });
    }
}
