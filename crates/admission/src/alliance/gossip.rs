//! What a proxy tells the others: its `application_name`, which every role may see.
//!
//! ```text
//! surgetank/1 id=7f3a90 n=412 d=37 o=18 h=20 a=17        a follower
//! surgetank/1 id=c01d2e n=88 d=61 o=31 h=36 A=52 F=10    the leader
//! ```
//! PostgreSQL keeps 63 bytes of it.

use std::fmt;

/// How every name begins: who speaks, and which version of what is said.
const PREFIX: &str = "surgetank/1 ";

/// Numbers that are larger are told as this: there is no room for more.
const MOST: u32 = 9_999;
const LIMIT_MOST: u32 = 99_999;

/// The bits of an id.
pub(super) const IDS: u32 = 0xff_ffff;

/// Beats are counted up to this.
pub(super) const BEATS: u32 = 1_000;

/// What one proxy says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Who it is, in 24 bits: chosen by chance when it starts.
    pub id: u32,
    /// Another number each time it speaks: so that one can tell that it lives.
    pub beat: u32,
    /// What it would execute if it could: those who wait, those who execute, and 1.
    pub demand: u32,
    /// Its server connections, this one included.
    pub open: u32,
    /// The most it may have before it speaks again.
    pub most: u32,
    /// What it does about the limit.
    pub role: Role,
}

/// What a proxy does about the limit of executing statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It keeps to what the leader found.
    Follows {
        /// How many short statements execute.
        executing: u32,
    },
    /// It finds the limit of all.
    Leads {
        /// The limit.
        limit: u32,
        /// Connections to leave to those who are no Surgetank.
        foreign: u32,
    },
}

impl Gossip {
    /// Reads a name; nothing if it is none of ours.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let mut words = name.strip_prefix(PREFIX)?.split(' ');
        let mut word = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let id = u32::from_str_radix(word("id")?, 16).ok()?;
        let [beat, demand, open, most] = [word("n")?, word("d")?, word("o")?, word("h")?];
        let (key, value) = words.next()?.split_once('=')?;
        let value = value.parse().ok()?;
        let role = match key {
            "a" => Role::Follows { executing: value },
            "A" => {
                let foreign = words.next()?.strip_prefix("F=")?.parse().ok()?;
                Role::Leads { limit: value, foreign }
            }
            _ => return None,
        };
        Some(Self {
            id,
            beat: beat.parse().ok()?,
            demand: demand.parse().ok()?,
            open: open.parse().ok()?,
            most: most.parse().ok()?,
            role,
        })
    }
}

impl fmt::Display for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, beat, role, .. } = self;
        let [demand, open, most] = [self.demand, self.open, self.most].map(|n| n.min(MOST));
        let (id, beat) = (id & IDS, beat % BEATS);
        write!(f, "{PREFIX}id={id:06x} n={beat} d={demand} o={open} h={most} ")?;
        match role {
            Role::Follows { executing } => write!(f, "a={}", executing.min(&MOST)),
            Role::Leads { limit, foreign } => {
                write!(f, "A={} F={}", limit.min(&LIMIT_MOST), foreign.min(&MOST))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_reads_like_this() {
        let role = Role::Follows { executing: 17 };
        let gossip = Gossip { id: 0x7f3a, beat: 412, demand: 37, open: 18, most: 20, role };
        assert_eq!(gossip.to_string(), "surgetank/1 id=007f3a n=412 d=37 o=18 h=20 a=17");
        let role = Role::Leads { limit: 52, foreign: 10 };
        let gossip = Gossip { role, ..gossip };
        assert_eq!(gossip.to_string(), "surgetank/1 id=007f3a n=412 d=37 o=18 h=20 A=52 F=10");
    }

    #[test]
    fn what_is_none_of_ours_is_not_heard() {
        for name in [
            "surgetank",
            "surgetank/2 id=007f3a n=412 d=37 o=18 h=20 a=17",
            "surgetank/1 id=007f3a n=412 d=37 o=18 h=20",
            "surgetank/1 id=007f3a n=412 d=37 o=18 h=20 A=3",
            "surgetank/1 id=007f3a n=412 d=x o=18 h=20 a=17",
            "surgetank/1 id=007f3a n=412 d=-1 o=18 h=20 a=17",
            "surgetank/1 id=007f3a n=412 d=37 h=20 o=18 a=17",
        ] {
            assert_eq!(Gossip::read(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_fits_and_is_understood(
            (id, beat, demand) in (0_u32..1 << 24, 0..BEATS, any::<u32>()),
            (open, most, other, leads) in (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>()),
        ) {
            let role = if leads {
                Role::Leads { limit: most, foreign: other }
            } else {
                Role::Follows { executing: other }
            };
            let text = Gossip { id, beat, demand, open, most, role }.to_string();
            prop_assert!(text.len() <= 63, "{text}");
            let heard = Gossip::read(&text).expect("it is ours");
            prop_assert_eq!(heard.to_string(), text);
            prop_assert_eq!((heard.id, heard.beat), (id, beat));
            prop_assert_eq!(heard.demand, demand.min(MOST));
        }

        #[test]
        fn no_name_makes_it_stumble(name in ".{0,80}", tail in "[a-zA-Z=0-9 ]{0,60}") {
            let _ = Gossip::read(&name);
            let _ = Gossip::read(&format!("{PREFIX}{tail}"));
        }
    }
}
