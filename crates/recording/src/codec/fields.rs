//! The form of each type in a file: little-endian integers, strings and lists with a `u32` count
//! before them, enums as one byte. Records are their fields in the order listed here.

use trace::{
    ActivitySampled, BackendPid, BackendSample, Blame, DynoId, DynoState, Fingerprint, HttpServed,
    LimitCause, LimitChanged, LockWaitSampled, LogLine, Micros, Outcome, PinCause, PlanSeen,
    PoolSampled, Refusal, Request, RequestKind, RequestTraced, SessionId, SqlState,
    StatementSampled, StatementSeen, TableSampled, TraceId, TransactionState,
};

/// Bytes that no recorder wrote, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// What is left to read.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: u32) -> Result<&'a [u8], Corrupt> {
        let count = usize::try_from(count).map_err(|_| Corrupt("a length beyond memory"))?;
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Corrupt("a length beyond the end"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Corrupt("a field beyond the end"))?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// A type that has a form in a file.
pub(crate) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt>;
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl Field for $integer {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
                bytes.array().map(Self::from_le_bytes)
            }
        }
    )+};
}

integers!(u8, u16, u32, u64, i32);

/// A newtype looks like what it holds.
macro_rules! newtypes {
    ($($newtype:ident),+) => {$(
        impl Field for $newtype {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
                Field::take(bytes).map(Self)
            }
        }
    )+};
}

newtypes!(Micros, DynoId, SessionId, BackendPid, Fingerprint, SqlState, TraceId);

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        bytes.array()
    }
}

impl Field for Box<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        let length = u32::take(bytes)?;
        let text = std::str::from_utf8(bytes.bytes(length)?);
        text.map(Into::into).map_err(|_| Corrupt("a string that is not UTF-8"))
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for item in self {
            item.put(out);
        }
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        // Grows as items come: a count is not believed with an allocation.
        (0..u32::take(bytes)?).map(|_| T::take(bytes)).collect()
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        Ok((A::take(bytes)?, B::take(bytes)?))
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        T::take(bytes).map(Self::new)
    }
}

/// A count beyond `u32` makes the event longer than its length can say, so that `encode` drops it;
/// what is written here is then never read.
fn put_count(count: usize, out: &mut Vec<u8>) {
    u32::try_from(count).unwrap_or(u32::MAX).put(out);
}

/// Enums as one byte; the match on writing is exhaustive, so a new variant does not compile here
/// until it has its number.
macro_rules! codes {
    ($($name:ident { $($variant:ident = $code:literal),+ $(,)? })+) => {$(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $code),+ });
            }

            fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
                Ok(match u8::take(bytes)? {
                    $($code => Self::$variant,)+
                    _ => return Err(Corrupt(concat!("an unknown ", stringify!($name)))),
                })
            }
        }
    )+};
}

codes! {
    PinCause {
        Set = 0, Prepare = 1, Listen = 2, TemporaryTable = 3, CursorWithHold = 4,
        AdvisoryLock = 5, Unknown = 6, ReplicationSlot = 7,
    }
    DynoState { Starting = 0, Up = 1, Stopping = 2, Crashed = 3, Down = 4 }
    RequestKind { Connect = 0, Simple = 1, Extended = 2, Function = 3 }
    TransactionState { Idle = 0, Open = 1, Failed = 2 }
    LimitCause {
        Started = 0, Remembered = 1, Measured = 2, Locked = 3, Ceiling = 4, Long = 5, Refused = 6,
        Restarted = 7, Unused = 8, Congested = 9, Shared = 10,
    }
    Blame { Nobody = 0, App = 1, Dyno = 2, Surgetank = 3, Postgres = 4, Network = 5 }
}

/// One byte and always five of SQLSTATE, zeros where there is none: a request keeps its size.
impl Field for Outcome {
    fn put(&self, out: &mut Vec<u8>) {
        let (code, state) = match self {
            Self::Ok => (0, [0; 5]),
            Self::Error(state) => (1, state.0),
            Self::QueueTimeout => (2, [0; 5]),
            Self::ClientGone => (3, [0; 5]),
            Self::ServerGone => (4, [0; 5]),
            Self::ServerUnreachable => (5, [0; 5]),
        };
        out.push(code);
        state.put(out);
    }

    fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
        let code = u8::take(bytes)?;
        let state = SqlState::take(bytes)?;
        Ok(match (code, state.0) {
            (1, _) => Self::Error(state),
            (0, [0, 0, 0, 0, 0]) => Self::Ok,
            (2, [0, 0, 0, 0, 0]) => Self::QueueTimeout,
            (3, [0, 0, 0, 0, 0]) => Self::ClientGone,
            (4, [0, 0, 0, 0, 0]) => Self::ServerGone,
            (5, [0, 0, 0, 0, 0]) => Self::ServerUnreachable,
            _ => return Err(Corrupt("an unknown Outcome")),
        })
    }
}

/// Records as their fields; all must be named, or it does not compile.
macro_rules! records {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.put(out);)+
            }

            fn take(bytes: &mut Bytes<'_>) -> Result<Self, Corrupt> {
                Ok(Self { $($field: Field::take(bytes)?),+ })
            }
        }
    )+};
}

records! {
    // 79 bytes, always.
    Request {
        session, dyno, kind, statement, backend, arrived, assigned, sent, first_byte, done,
        bytes_in, bytes_out, rows, outcome, blame, transaction,
    }
    StatementSeen { at, fingerprint, text }
    PoolSampled { at, limit, open, leased, waiting }
    LimitChanged { at, from, to, cause, elasticity_milli, error_milli }
    Refusal { at, session, dyno, waited, holders }
    ActivitySampled { at, backends }
    BackendSample { pid, state, wait, transaction_age, statement, application }
    LockWaitSampled { at, waiter, blockers, mode, target }
    StatementSampled { at, statement, calls, exec, rows, blocks }
    TableSampled { at, table, seq_scans, seq_rows_read, index_scans, live_rows }
    PlanSeen { at, statement, json }
    HttpServed { at, dyno, method, path, status, code, service, request_id, trace }
    RequestTraced { at, session, trace }
    LogLine { at, dyno, text }
}

/// An [`HttpServed`] of before it had a request id and a trace.
pub(super) fn http_served_untraced(bytes: &mut Bytes<'_>) -> Result<HttpServed, Corrupt> {
    Ok(HttpServed {
        at: Field::take(bytes)?,
        dyno: Field::take(bytes)?,
        method: Field::take(bytes)?,
        path: Field::take(bytes)?,
        status: Field::take(bytes)?,
        code: Field::take(bytes)?,
        service: Field::take(bytes)?,
        request_id: Box::default(),
        trace: TraceId::NONE,
    })
}
