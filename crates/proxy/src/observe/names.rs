//! Names of prepared statements and portals.

use std::collections::HashMap;

use trace::Fingerprint;

/// Names of statements and portals that are remembered; what goes beyond is recorded without its
/// statement.
const NAMES_MAX: usize = 10_000;

/// Which statement a name stands for. Lookups take no allocation.
#[derive(Debug, Default)]
pub(super) struct Names {
    unnamed: Fingerprint,
    named: HashMap<Box<[u8]>, Fingerprint>,
}

impl Names {
    pub(super) fn set(&mut self, name: &[u8], statement: Fingerprint) {
        if name.is_empty() {
            self.unnamed = statement;
        } else if let Some(known) = self.named.get_mut(name) {
            *known = statement;
        } else if self.named.len() < NAMES_MAX {
            self.named.insert(name.into(), statement);
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Fingerprint {
        if name.is_empty() {
            return self.unnamed;
        }
        self.named.get(name).copied().unwrap_or_default()
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = Fingerprint::NONE;
        } else {
            self.named.remove(name);
        }
    }
}
