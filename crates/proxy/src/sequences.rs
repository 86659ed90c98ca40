//! Whose sequences a server connection knows: what `lastval` and `currval` say there is what the
//! session saw last that took a number from a sequence on this connection.
//!
//! PostgreSQL cannot be told to forget or to restore it for one session, so a session is given the
//! connection on which it took its last number, as long as no other session has done so there
//! since. If one has, `lastval` is undefined to it, as to a new session: never another's number.

use std::sync::{Arc, Weak};

/// A session, as far as sequences are concerned; `DISCARD ALL` makes it another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequenceUser(Arc<()>);

/// The last session that may have taken a number from a sequence on a server connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequencesOf(Option<Weak<()>>);

impl SequenceUser {
    /// Whose sequences the best server connection for this session can know.
    pub(crate) fn best_owner(&self) -> Owner {
        if Arc::weak_count(&self.0) > 0 { Owner::Own } else { Owner::Nobody }
    }
}

/// Whose sequences those are, to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// Another session's that is still there.
    Another,
    /// Nobody's who is still there.
    Nobody,
    /// The session's own.
    Own,
}

impl SequencesOf {
    /// The session may take a number.
    pub(crate) fn set(&mut self, user: &SequenceUser) {
        if self.owner(user) != Owner::Own {
            self.0 = Some(Arc::downgrade(&user.0));
        }
    }

    /// The server connection was made to forget them.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether no session has taken a number there.
    pub(crate) fn is_clear(&self) -> bool {
        self.0.is_none()
    }

    /// Whose they are.
    pub(crate) fn owner(&self, user: &SequenceUser) -> Owner {
        match &self.0 {
            Some(one) if std::ptr::eq(one.as_ptr(), Arc::as_ptr(&user.0)) => Owner::Own,
            Some(one) if one.strong_count() > 0 => Owner::Another,
            Some(_) | None => Owner::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_of_the_session_that_used_them_last() {
        let (one, other) = (SequenceUser::default(), SequenceUser::default());
        let mut sequences = SequencesOf::default();
        assert_eq!(sequences.owner(&one), Owner::Nobody);
        sequences.set(&one);
        assert_eq!((sequences.owner(&one), sequences.owner(&other)), (Owner::Own, Owner::Another));
        sequences.set(&other);
        assert_eq!(sequences.owner(&one), Owner::Another);
        drop(other);
        assert_eq!(sequences.owner(&one), Owner::Nobody);
        assert!(!sequences.is_clear(), "but not forgotten");
    }
}
