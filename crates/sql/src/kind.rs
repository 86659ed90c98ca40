//! The words for what a statement does.

/// What a statement is, by its leading keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// `SELECT`, `VALUES`, `TABLE`, and `WITH` in front of them.
    Select,
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `MERGE`.
    Merge,
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`, and `PREPARE TRANSACTION`, which ends the session's transaction too.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`.
    Savepoint,
    /// `SET`.
    Set,
    /// `RESET`.
    Reset,
    /// `SHOW`.
    Show,
    /// `COPY`.
    Copy,
    /// `CREATE`, `ALTER`, `DROP`, `TRUNCATE`, `GRANT`, …
    Ddl,
    /// `EXPLAIN`.
    Explain,
    /// SQL-level `PREPARE`.
    Prepare,
    /// `EXECUTE`.
    Execute,
    /// `DEALLOCATE`.
    Deallocate,
    /// `DISCARD`.
    Discard,
    /// `LISTEN`, `UNLISTEN`, `NOTIFY`.
    Notify,
    /// `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
    Cursor,
    /// `CALL`, `DO`.
    Call,
    /// `LOCK`.
    Lock,
    /// `VACUUM`, `ANALYZE`, `CLUSTER`, `REINDEX`, `CHECKPOINT`, `REFRESH`.
    Maintenance,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether statements of this kind do nothing to their session but what their settings,
    /// functions and relations do.
    pub(crate) fn is_plain(self) -> bool {
        !matches!(
            self,
            Self::Ddl
                | Self::Explain
                | Self::Execute
                | Self::Call
                | Self::Maintenance
                | Self::Other
        )
    }

    /// Whether statements of this kind take numbers from sequences, if columns' defaults do.
    #[must_use]
    pub fn may_use_sequences(self) -> bool {
        matches!(self, Self::Insert | Self::Merge | Self::Copy | Self::Execute | Self::Call)
    }

    /// By the first keyword, in lower case.
    pub(crate) fn of_keyword(word: &[u8]) -> Self {
        match word {
            b"select" | b"values" | b"table" => Self::Select,
            b"insert" => Self::Insert,
            b"update" => Self::Update,
            b"delete" => Self::Delete,
            b"merge" => Self::Merge,
            b"begin" | b"start" => Self::Begin,
            b"commit" | b"end" => Self::Commit,
            b"rollback" | b"abort" => Self::Rollback,
            b"savepoint" | b"release" => Self::Savepoint,
            b"set" => Self::Set,
            b"reset" => Self::Reset,
            b"show" => Self::Show,
            b"copy" => Self::Copy,
            b"create" | b"alter" | b"drop" | b"truncate" | b"grant" | b"revoke" | b"comment"
            | b"security" | b"import" | b"reassign" => Self::Ddl,
            b"explain" => Self::Explain,
            b"prepare" => Self::Prepare,
            b"execute" => Self::Execute,
            b"deallocate" => Self::Deallocate,
            b"discard" => Self::Discard,
            b"listen" | b"unlisten" | b"notify" => Self::Notify,
            b"declare" | b"fetch" | b"move" | b"close" => Self::Cursor,
            b"call" | b"do" => Self::Call,
            b"lock" => Self::Lock,
            b"vacuum" | b"analyze" | b"analyse" | b"cluster" | b"reindex" | b"checkpoint"
            | b"refresh" => Self::Maintenance,
            _ => Self::Other,
        }
    }
}

/// What a statement may do to its session beyond its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionEffect {
    /// `SET` and `RESET` of a session parameter, `set_config(…, false)`: [`crate::settings`] says
    /// which.
    Set,
    /// `SET LOCAL`, `set_config(…, true)`: gone with the transaction.
    SetLocal,
    /// SQL-level `PREPARE`.
    Prepare,
    /// SQL-level `EXECUTE`: does whatever was prepared.
    Execute,
    /// `DEALLOCATE`, `DISCARD`: prepared statements may be gone.
    Deallocate,
    /// `LISTEN`.
    Listen,
    /// A temporary table, view, sequence, function or type.
    TemporaryTable,
    /// `DECLARE … WITH HOLD`.
    CursorWithHold,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// What undoes one of these: `DROP`, `CLOSE`, `UNLISTEN`, `DISCARD`, `pg_advisory_unlock`.
    Release,
    /// Something that cannot be asked about afterwards: `LOAD`, `setseed`, a `dblink` connection.
    Unknown,
    /// Perhaps any of these that can be asked about: DDL, `CALL`, `DO`, `EXPLAIN`, `SELECT … INTO`,
    /// functions that run SQL which they are given as text.
    Anything,
    /// A temporary replication slot.
    ReplicationSlot,
    /// What this session's sequences gave last is looked at: `lastval`, `currval`.
    SequenceRead,
    /// A number is taken from a sequence: `nextval`, `setval`, an `INSERT` within `WITH`.
    SequenceUse,
    /// Settings are looked at by name: `current_setting`, `SHOW`.
    ReadsSettings,
    /// The names of prepared statements are looked at (`pg_prepared_statements`).
    ReadsStatementNames,
}

/// A set of effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects(u32);

impl Effects {
    /// No effect.
    pub const NONE: Self = Self(0);

    /// Whether there is none: so it is of nearly all statements.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the effect is one of them.
    #[must_use]
    pub fn has(self, effect: SessionEffect) -> bool {
        self.0 & Self::bit(effect) != 0
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, effect: SessionEffect) -> Self {
        Self(self.0 | Self::bit(effect))
    }

    /// These without one.
    #[must_use]
    pub fn without(self, effect: SessionEffect) -> Self {
        Self(self.0 & !Self::bit(effect))
    }

    /// These and others.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn bit(effect: SessionEffect) -> u32 {
        1 << effect as u16
    }
}
