//! The list of releases, kept in a file of the app's folder.

use super::Release;
use crate::error::{Error, Result};
use crate::private::Kept;

const FILE: &str = "releases.json";
/// Older ones are forgotten; one cannot go back to them any more.
const RELEASES_MAX: usize = 500;

/// All releases, oldest first.
#[derive(Debug)]
pub(super) struct Ledger {
    releases: Vec<Release>,
}

impl Ledger {
    pub(super) fn read(kept: &Kept) -> Result<Self> {
        Ok(Self { releases: kept.read(FILE)?.unwrap_or_default() })
    }

    pub(super) fn all(&self) -> &[Release] {
        &self.releases
    }

    /// The newest one that is live or was.
    pub(super) fn current(&self) -> Option<&Release> {
        self.releases.iter().rev().find(|release| release.is_good())
    }

    pub(super) fn current_version(&self) -> Option<u64> {
        self.current().map(|release| release.version)
    }

    pub(super) fn find(&self, version: u64) -> Result<&Release> {
        let found = self.releases.iter().find(|release| release.version == version);
        found.ok_or(Error::UnknownRelease { version })
    }

    /// The one before the current one that can be gone back to.
    pub(super) fn previous(&self) -> Result<&Release> {
        let mut eligible = self.releases.iter().rev().filter(|release| release.is_eligible());
        eligible.nth(1).ok_or(Error::NothingToRollBackTo)
    }

    pub(super) fn next_version(&self) -> u64 {
        self.releases.last().map_or(1, |release| release.version + 1)
    }

    /// Adds a release, or replaces the one of its version, in the file and here, or in neither.
    pub(super) fn put(&mut self, kept: &Kept, release: Release) -> Result<()> {
        let mut releases = self.releases.clone();
        match releases.iter_mut().find(|other| other.version == release.version) {
            Some(other) => *other = release,
            None => releases.push(release),
        }
        let superfluous = releases.len().saturating_sub(RELEASES_MAX);
        releases.drain(..superfluous);
        kept.write(FILE, &releases)?;
        self.releases = releases;
        Ok(())
    }
}
