//! The statements that one server connection has.

use std::io::Write;

use trace::numbers::NumberMap;
use wire::frontend::Target;

use super::{OUR_PREFIX, ParseNumber, StatementId, UnnamedOnServer};

/// Copies that one server connection keeps; the least recently used one makes room.
const SERVER_COPIES_MAX: usize = 200;

/// Bytes of the longest name: the prefix and 20 digits.
const NAME_SPACE: usize = 30;

/// Which of the statements that were ever prepared on a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyNumber(u64);

impl CopyNumber {
    /// Its name on the server connection.
    pub(crate) fn name(self) -> CopyName {
        let mut name = CopyName { bytes: [0; NAME_SPACE], len: 0 };
        let mut rest = &mut name.bytes[..];
        // It has room for the largest number.
        let _ = write!(rest, "{OUR_PREFIX}{}", self.0);
        name.len = NAME_SPACE - rest.len();
        name
    }

    /// Appends a `Close` of it.
    pub(crate) fn put_close(self, out: &mut Vec<u8>) {
        Target::Statement(self.name().as_bytes()).put_close(out);
    }

    /// By the digits at the end of its name.
    pub(crate) fn parse(digits: &str) -> Option<Self> {
        digits.parse().ok().map(Self)
    }
}

/// A copy's name on its server connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyName {
    bytes: [u8; NAME_SPACE],
    len: usize,
}

impl CopyName {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// How much is known of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// Its `Parse` was sent. What follows in the same batch may use it: if it fails, so does that.
    Sent,
    /// Its `Parse` was sent; whether it has the result that its sessions were told of must be seen
    /// before it is used.
    Unchecked,
    /// PostgreSQL has it.
    Ready,
    /// PostgreSQL has it, with another result than its sessions were told of.
    Changed,
}

/// A statement on a server connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerCopy {
    pub(crate) number: CopyNumber,
    pub(crate) name: CopyName,
    pub(crate) state: CopyState,
    parsed: ParseNumber,
    used: u64,
}

/// What the server discarded unread, or refused, when an error came before its turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// Copies that were to be prepared.
    pub(crate) copies: Vec<CopyNumber>,
    /// Copies that were to be closed.
    pub(crate) closes: Vec<CopyNumber>,
    /// So many hidden descriptions.
    pub(crate) descriptions: usize,
    /// So many errors that were to be provoked.
    pub(crate) refusals: usize,
    /// So many changes of the session's names.
    pub(crate) changes: usize,
}

/// The statements that one server connection has.
#[derive(Debug, Default)]
pub(crate) struct ServerStatements {
    copies: NumberMap<StatementId, ServerCopy>,
    last: u64,
    clock: u64,
    /// The unnamed one.
    pub(crate) unnamed: UnnamedOnServer,
    /// Copies that are not used any more and have not been closed yet.
    surplus: Vec<CopyNumber>,
}

impl ServerStatements {
    /// The copy of a statement, if there is one that is new enough; it counts as used.
    #[inline]
    pub(crate) fn find(&mut self, id: StatementId, since: ParseNumber) -> Option<ServerCopy> {
        self.clock += 1;
        let copy = self.copies.get_mut(&id).filter(|copy| copy.parsed >= since)?;
        copy.used = self.clock;
        Some(*copy)
    }

    /// A name for a statement that is prepared now.
    pub(crate) fn add(
        &mut self,
        id: StatementId,
        parsed: ParseNumber,
        state: CopyState,
    ) -> ServerCopy {
        if self.copies.len() >= SERVER_COPIES_MAX && !self.copies.contains_key(&id) {
            self.evict();
        }
        self.last += 1;
        self.clock += 1;
        let number = CopyNumber(self.last);
        let copy = ServerCopy { number, name: number.name(), state, parsed, used: self.clock };
        self.put(id, copy);
        copy
    }

    fn put(&mut self, id: StatementId, copy: ServerCopy) {
        if let Some(older) = self.copies.insert(id, copy) {
            self.surplus.push(older.number);
        }
    }

    fn evict(&mut self) {
        let oldest = self.copies.iter().min_by_key(|(_, copy)| copy.used).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.remove(id);
        }
    }

    /// Nobody may use the copy of this statement from now on.
    pub(crate) fn remove(&mut self, id: StatementId) {
        if let Some(copy) = self.copies.remove(&id) {
            self.surplus.push(copy.number);
        }
    }

    /// PostgreSQL has described a copy: from now on it is one of this statement, in this state.
    pub(crate) fn described(&mut self, number: CopyNumber, id: StatementId, state: CopyState) {
        let found = self.copies.iter().find(|(_, copy)| copy.number == number);
        let Some(known) = found.map(|(known, _)| *known) else { return };
        let Some(copy) = self.copies.remove(&known) else { return };
        self.put(id, ServerCopy { state, ..copy });
    }

    /// Which statement a copy is of.
    pub(crate) fn statement_of(&self, number: CopyNumber) -> Option<StatementId> {
        self.copies.iter().find(|(_, copy)| copy.number == number).map(|(id, _)| *id)
    }

    /// Copies that are to be closed now.
    pub(crate) fn take_surplus(&mut self) -> Vec<CopyNumber> {
        std::mem::take(&mut self.surplus)
    }

    /// All copies, which are to be closed now.
    pub(crate) fn take_all(&mut self) -> Vec<CopyNumber> {
        let mut all = self.take_surplus();
        all.extend(self.copies.drain().map(|(_, copy)| copy.number));
        all
    }

    /// How many copies wait to be closed.
    pub(crate) fn surplus(&self) -> usize {
        self.surplus.len()
    }

    /// All of them are gone from the server.
    pub(crate) fn clear(&mut self) {
        self.copies.clear();
        self.surplus.clear();
        self.unnamed = UnnamedOnServer::Free;
    }

    /// An error has undone what was sent.
    pub(crate) fn undo(&mut self, undone: &Undone) {
        self.unnamed = UnnamedOnServer::Unknown;
        if !undone.copies.is_empty() {
            self.copies.retain(|_, copy| !undone.copies.contains(&copy.number));
            self.surplus.retain(|number| !undone.copies.contains(number));
        }
        self.surplus.extend_from_slice(&undone.closes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ParseNumber = ParseNumber(1);
    const NEW: ParseNumber = ParseNumber(2);

    fn id(number: u64) -> StatementId {
        StatementId(number)
    }

    #[test]
    fn a_copy_serves_sessions_that_are_not_younger() {
        let mut statements = ServerStatements::default();
        let copy = statements.add(id(7), OLD, CopyState::Ready);
        assert_eq!(copy.name.as_bytes(), b"surgetank_1");
        assert_eq!(statements.find(id(7), OLD).unwrap().number, copy.number);
        assert!(statements.find(id(7), NEW).is_none());
        let newer = statements.add(id(7), NEW, CopyState::Ready);
        assert_eq!(statements.find(id(7), OLD).unwrap().number, newer.number);
        assert_eq!(statements.take_surplus(), [copy.number]);
    }

    #[test]
    fn a_full_server_connection_closes_the_least_recently_used() {
        let mut statements = ServerStatements::default();
        for number in 0..SERVER_COPIES_MAX as u64 {
            statements.add(id(number), OLD, CopyState::Ready);
        }
        assert!(statements.take_surplus().is_empty());
        assert!(statements.find(id(0), OLD).is_some(), "and is used by that");
        statements.add(id(1000), OLD, CopyState::Ready);
        assert_eq!(statements.take_surplus(), [CopyNumber(2)]);
        assert!(statements.find(id(1), OLD).is_none());
        assert!(statements.find(id(0), OLD).is_some());
    }

    #[test]
    fn a_description_says_of_which_statement_a_copy_is() {
        let mut statements = ServerStatements::default();
        let older = statements.add(id(7), OLD, CopyState::Ready);
        let copy = statements.add(id(50), NEW, CopyState::Ready);
        statements.described(copy.number, id(7), CopyState::Ready);
        assert_eq!(statements.find(id(7), NEW).unwrap().number, copy.number);
        assert!(statements.find(id(50), NEW).is_none());
        assert_eq!(statements.statement_of(copy.number), Some(id(7)));
        assert_eq!(statements.take_surplus(), [older.number]);
    }

    #[test]
    fn what_an_error_undoes_is_not_there() {
        let mut statements = ServerStatements::default();
        let [kept, lost] = [1, 2].map(|number| statements.add(id(number), OLD, CopyState::Ready));
        let closes = vec![kept.number];
        statements.undo(&Undone { copies: vec![lost.number], closes, ..Undone::default() });
        assert!(statements.find(id(2), OLD).is_none());
        assert_eq!(statements.take_surplus(), [kept.number], "it is closed later");
    }

    #[test]
    fn the_longest_name_has_room() {
        assert_eq!(CopyNumber(u64::MAX).name().as_bytes(), b"surgetank_18446744073709551615");
    }
}
