//! Dyno sizes: how much memory, processor time and how many processes a dyno may have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;
/// A share of processor time, as cgroups(7) count it.
const SHARE: u64 = 1024;

/// A dyno's size, by Heroku's names ("Dyno types", "Dyno memory quota and limits").
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Size {
    /// 512 MB.
    Eco,
    /// 512 MB.
    Basic,
    /// 512 MB: what a dyno has of which nothing is said.
    #[default]
    Standard1X,
    /// 1 GB, twice the processor time.
    Standard2X,
    /// 2.5 GB.
    PerformanceM,
    /// 14 GB.
    PerformanceL,
}

/// What a size means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Beyond this a dyno is told of R14.
    pub(crate) memory_bytes_quota: u64,
    /// Beyond this it is killed, R15: twice the quota.
    pub(crate) memory_bytes_max: u64,
    /// Processor time as against other dynos when there is not enough for all.
    pub(crate) cpu_shares: u64,
    /// Most processes and threads at once.
    pub(crate) tasks_max: i64,
}

const ALL: &[Size] = &[
    Size::Eco,
    Size::Basic,
    Size::Standard1X,
    Size::Standard2X,
    Size::PerformanceM,
    Size::PerformanceL,
];

impl Size {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eco => "Eco",
            Self::Basic => "Basic",
            Self::Standard1X => "Standard-1X",
            Self::Standard2X => "Standard-2X",
            Self::PerformanceM => "Performance-M",
            Self::PerformanceL => "Performance-L",
        }
    }

    /// The memory it may use without complaint, in bytes.
    #[must_use]
    pub fn memory_bytes(self) -> u64 {
        match self {
            Self::Eco | Self::Basic | Self::Standard1X => 512 * MIB,
            Self::Standard2X => 1024 * MIB,
            Self::PerformanceM => 2560 * MIB,
            Self::PerformanceL => 14 * 1024 * MIB,
        }
    }

    /// What this size means. Dedicated sizes have all the processors there are on Heroku; among
    /// dynos of one machine they have the more shares.
    pub(crate) fn limits(self) -> Limits {
        let (shares, tasks_max) = match self {
            Self::Eco | Self::Basic | Self::Standard1X => (1, 256),
            Self::Standard2X => (2, 512),
            Self::PerformanceM => (12, 16_384),
            Self::PerformanceL => (48, 32_768),
        };
        Limits {
            memory_bytes_quota: self.memory_bytes(),
            memory_bytes_max: 2 * self.memory_bytes(),
            cpu_shares: shares * SHARE,
            tasks_max,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Size {
    type Err = String;

    /// In any case, as Heroku's command line takes it; `1X` and `2X` are older names.
    fn from_str(text: &str) -> Result<Self, String> {
        let older = match text.to_ascii_lowercase().as_str() {
            "1x" => Some(Self::Standard1X),
            "2x" => Some(Self::Standard2X),
            _ => None,
        };
        let named = ALL.iter().copied().find(|size| size.as_str().eq_ignore_ascii_case(text));
        older.or(named).ok_or_else(|| {
            let all: Vec<_> = ALL.iter().map(|size| size.as_str()).collect();
            format!("`{text}` is no dyno size; there are: {}", all.join(", "))
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_are_written() {
        for size in ALL {
            assert_eq!(size.to_string().parse(), Ok(*size));
            assert_eq!(size.to_string().to_lowercase().parse(), Ok(*size));
        }
        assert_eq!("2X".parse(), Ok(Size::Standard2X));
        assert!("3X".parse::<Size>().unwrap_err().contains("Standard-1X, Standard-2X"));
    }

    #[test]
    fn a_quota_is_half_the_limit() {
        let limits = Size::default().limits();
        assert_eq!(limits.memory_bytes_quota, 536_870_912);
        assert_eq!(limits.memory_bytes_max, 1_073_741_824);
        assert_eq!(limits.tasks_max, 256);
    }
}
