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

/// What a statement leaves behind in its session when its transaction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionEffect {
    /// `SET` of a session parameter, `set_config(…, false)`.
    Set,
    /// SQL-level `PREPARE`.
    Prepare,
    /// `LISTEN`.
    Listen,
    /// A temporary table, view or sequence.
    TemporaryTable,
    /// `DECLARE … WITH HOLD`.
    CursorWithHold,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// A `DO` block or `LOAD`: its session effects cannot be known from the text.
    Unknown,
}
