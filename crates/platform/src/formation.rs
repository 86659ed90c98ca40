//! The formation: how many dynos of each process type, and of what size.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::dyno::Size;
use crate::error::{Error, Result};
use crate::name::DynoName;
use crate::procfile::Procfile;

/// Most dynos of one type. Heroku's own limit; here it catches a slip of the finger before a
/// thousand processes do.
const MOST_OF_ONE_TYPE: u32 = 100;

/// How many dynos of each type, in the order of the Procfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formation {
    quantities: Vec<(Arc<str>, u32)>,
    /// Of the types that have not the usual one.
    sizes: BTreeMap<Arc<str>, Size>,
}

impl Formation {
    /// What a new app has: one `web`, none of the others.
    #[must_use]
    pub fn initial(procfile: &Procfile) -> Self {
        Self::of(procfile, |process_type| u32::from(process_type == "web"))
    }

    /// The process types of a Procfile, each with so many dynos.
    pub(crate) fn of(procfile: &Procfile, quantity: impl Fn(&str) -> u32) -> Self {
        let quantities = procfile.types().map(|name| (name.into(), quantity(name))).collect();
        Self { quantities, sizes: BTreeMap::new() }
    }

    /// With the sizes of another formation, for the types that are in both.
    pub(crate) fn with_sizes_of(mut self, other: &Self) -> Self {
        let known = other.sizes.iter().filter(|(name, _)| self.types().any(|one| one == &***name));
        self.sizes = known.map(|(name, size)| (Arc::clone(name), *size)).collect();
        self
    }

    /// This formation after changes such as `web=2,worker+1`, `web-1 worker=0` or
    /// `web=2:Standard-2X`; types that are not named stay as they are.
    ///
    /// # Errors
    /// A change that cannot be read, a type the Procfile does not have, or a quantity out of
    /// bounds. Nothing is changed then.
    pub fn changed_by(&self, changes: &str) -> Result<Self> {
        let mut formation = self.clone();
        let separator = |c: char| c == ',' || c.is_whitespace();
        for change in changes.split(separator).filter(|change| !change.is_empty()) {
            let wrong = |reason| Error::Formation { text: change.to_owned(), reason };
            formation.apply(change).map_err(wrong)?;
        }
        Ok(formation)
    }

    fn apply(&mut self, change: &str) -> Result<(), String> {
        let (change, size) = match change.split_once(':') {
            Some((change, size)) => (change, Some(size.parse::<Size>()?)),
            None => (change, None),
        };
        // A type may itself hold a `-`, so the operator is the last one.
        let position = change.rfind(['=', '+', '-']).filter(|at| *at > 0);
        let Some(position) = position else {
            return Err("expected `<type>=<n>`, `<type>+<n>` or `<type>-<n>`".to_owned());
        };
        let (process_type, rest) = change.split_at(position);
        let (operator, amount) = rest.split_at(1);
        let amount: u32 = amount.parse().map_err(|_| format!("`{amount}` is not a number"))?;
        let known = self.types().collect::<Vec<_>>().join(", ");
        let Some((name, quantity)) = self.quantities.iter_mut().find(|(t, _)| **t == *process_type)
        else {
            return Err(format!("the Procfile has no `{process_type}`; it has: {known}"));
        };
        let wanted = match operator {
            "=" => amount,
            "+" => quantity.saturating_add(amount),
            _ => quantity.saturating_sub(amount),
        };
        if wanted > MOST_OF_ONE_TYPE {
            return Err(format!("at most {MOST_OF_ONE_TYPE} dynos of one type"));
        }
        *quantity = wanted;
        if let Some(size) = size {
            self.sizes.insert(Arc::clone(name), size);
            self.sizes.retain(|_, size| *size != Size::default());
        }
        Ok(())
    }

    /// The same process types, with no dyno at all.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let quantities = self.quantities.iter().map(|(name, _)| (Arc::clone(name), 0)).collect();
        Self { quantities, sizes: self.sizes.clone() }
    }

    /// The process types, in the order of the Procfile.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.quantities.iter().map(|(process_type, _)| &**process_type)
    }

    /// How many dynos of this type.
    #[must_use]
    pub fn quantity(&self, process_type: &str) -> u32 {
        self.quantities.iter().find(|(t, _)| **t == *process_type).map_or(0, |(_, n)| *n)
    }

    /// The size of dynos of this type.
    #[must_use]
    pub fn size(&self, process_type: &str) -> Size {
        self.sizes.get(process_type).copied().unwrap_or_default()
    }

    /// Every dyno, in the order of the Procfile: `web.1`, `web.2`, `worker.1`.
    #[must_use]
    pub fn dynos(&self) -> Vec<DynoName> {
        let numbered = |(process_type, quantity): &(Arc<str>, u32)| {
            let process_type = Arc::clone(process_type);
            (1..=*quantity).map(move |number| DynoName::new(&process_type, number))
        };
        self.quantities.iter().flat_map(numbered).collect()
    }
}

/// `web=2, worker=1:Standard-2X`, as in Heroku's "Scale to" log line; the usual size is not told.
impl fmt::Display for Formation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (process_type, quantity)) in self.quantities.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{process_type}={quantity}")?;
            if let Some(size) = self.sizes.get(process_type) {
                write!(f, ":{size}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formation() -> Formation {
        let procfile = Procfile::parse("web: a\nworker: b\nbig-job: c").unwrap();
        Formation::initial(&procfile)
    }

    #[test]
    fn a_new_app_has_one_web_dyno() {
        assert_eq!(formation().to_string(), "web=1, worker=0, big-job=0");
        assert_eq!(formation().dynos(), [DynoName::new("web", 1)]);
    }

    #[test]
    fn changes_are_absolute_or_relative() {
        let changed = formation().changed_by("web=3,worker+2 big-job=1").unwrap();
        assert_eq!(changed.to_string(), "web=3, worker=2, big-job=1");
        let changed = changed.changed_by("web-1, worker-9").unwrap();
        assert_eq!(changed.to_string(), "web=2, worker=0, big-job=1");
        let names: Vec<_> = changed.dynos().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["web.1", "web.2", "big-job.1"]);
    }

    #[test]
    fn wrong_changes_say_what_was_expected() {
        let error = |text: &str| formation().changed_by(text).unwrap_err().to_string();
        assert_eq!(
            error("web=1,clock=1"),
            "formation `clock=1`: the Procfile has no `clock`; it has: web, worker, big-job"
        );
        assert!(error("web").contains("expected `<type>=<n>`"));
        assert!(error("=2").contains("expected `<type>=<n>`"));
        assert!(error("web=two").contains("`two` is not a number"));
        assert!(error("web=101").contains("at most 100"));
        assert!(error("web=2:Standard-3X").contains("`Standard-3X` is no dyno size"));
    }

    #[test]
    fn a_type_has_a_size() {
        let changed = formation().changed_by("web=2:standard-2x, worker+1").unwrap();
        assert_eq!(changed.to_string(), "web=2:Standard-2X, worker=1, big-job=0");
        assert_eq!(
            (changed.size("web"), changed.size("worker")),
            (Size::Standard2X, Size::default())
        );
        // It stays until it is changed, and is read back as it is written.
        let more = changed.changed_by("web+1").unwrap();
        assert_eq!(more.size("web"), Size::Standard2X);
        assert_eq!(formation().changed_by(&more.to_string()).unwrap(), more);
        assert_eq!(more.changed_by("web=3:Standard-1X").unwrap().size("web"), Size::default());
    }
}
