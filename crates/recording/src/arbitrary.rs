//! Events of every variant with any content, for property tests.

use proptest::prelude::*;
use trace::{
    ActivitySampled, BackendPid, BackendSample, Blame, DynoId, DynoState, Event, Fingerprint,
    HttpServed, LimitCause, LimitChanged, LockWaitSampled, LogLine, Micros, Outcome, PinCause,
    PlanSeen, PoolSampled, Refusal, Request, RequestKind, RequestTraced, SessionId, SqlState,
    StatementSampled, StatementSeen, TableSampled, TraceId, TransactionState,
};

prop_compose! {
    /// A source of values for the fields of one event.
    fn fields()(
        numbers in prop::array::uniform10(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]),
        texts in prop::array::uniform4("\\PC{0,12}"),
        list in prop::collection::vec((any::<u16>(), any::<u32>()), 0..4),
        code in any::<u8>(),
    ) -> Fields {
        Fields { numbers, texts: texts.map(Into::into), list, code }
    }
}

#[derive(Debug)]
struct Fields {
    numbers: [u64; 10],
    texts: [Box<str>; 4],
    list: Vec<(u16, u32)>,
    code: u8,
}

impl Fields {
    fn at(&self, index: usize) -> Micros {
        Micros(self.numbers[index])
    }

    #[expect(clippy::cast_possible_truncation, reason = "any value will do")]
    fn int(&self, index: usize) -> u32 {
        self.numbers[index] as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "any value will do")]
    fn dyno(&self) -> DynoId {
        DynoId(self.numbers[9] as u16)
    }

    fn session(&self) -> SessionId {
        SessionId(self.int(8))
    }

    fn backend(&self) -> BackendPid {
        BackendPid(self.int(7).cast_signed())
    }

    fn statement(&self) -> Fingerprint {
        Fingerprint(self.numbers[6])
    }

    fn text(&self, index: usize) -> Box<str> {
        self.texts[index].clone()
    }

    fn trace(&self) -> TraceId {
        TraceId((u128::from(self.numbers[5]) << 64 | u128::from(self.numbers[4])).to_be_bytes())
    }

    fn one_of<T: Copy>(&self, values: &[T]) -> T {
        values[usize::from(self.code) % values.len()]
    }
}

fn request(f: &Fields) -> Request {
    Request {
        session: f.session(),
        dyno: f.dyno(),
        kind: f.one_of(&[
            RequestKind::Connect,
            RequestKind::Simple,
            RequestKind::Extended,
            RequestKind::Function,
        ]),
        statement: f.statement(),
        backend: f.backend(),
        arrived: f.at(0),
        assigned: f.at(1),
        sent: f.at(2),
        first_byte: f.at(3),
        done: f.at(4),
        bytes_in: f.int(0),
        bytes_out: f.int(1),
        rows: f.int(2),
        outcome: f.one_of(&[
            Outcome::Ok,
            Outcome::Error(SqlState(*b"53300")),
            Outcome::QueueTimeout,
            Outcome::ClientGone,
            Outcome::ServerGone,
            Outcome::ServerUnreachable,
            Outcome::Error(SqlState([0xff; 5])),
        ]),
        blame: f.one_of(&[
            Blame::Nobody,
            Blame::App,
            Blame::Dyno,
            Blame::Surgetank,
            Blame::Postgres,
            Blame::Network,
        ]),
        transaction: f.one_of(&[
            TransactionState::Idle,
            TransactionState::Open,
            TransactionState::Failed,
        ]),
    }
}

/// The smallest and the largest request.
pub(crate) fn two_requests() -> [Request; 2] {
    [(0, 0), (u64::MAX, 1)].map(|(number, code)| {
        request(&Fields { numbers: [number; 10], texts: Default::default(), list: vec![], code })
    })
}

/// An event of the data plane.
fn of_data_plane(variant: usize, f: &Fields) -> Event {
    let at = f.at(0);
    match variant {
        0 => Event::Request(request(f)),
        1 => Event::SessionOpened { at, session: f.session(), dyno: f.dyno() },
        2 => Event::SessionClosed { at, session: f.session() },
        3 => Event::ServerOpened { at, backend: f.backend(), session: f.session() },
        4 => Event::ServerClosed { at, backend: f.backend() },
        5 => Event::SessionPinned {
            at,
            session: f.session(),
            cause: f.one_of(&[
                PinCause::Set,
                PinCause::Prepare,
                PinCause::Listen,
                PinCause::TemporaryTable,
                PinCause::CursorWithHold,
                PinCause::AdvisoryLock,
                PinCause::Unknown,
                PinCause::ReplicationSlot,
            ]),
            statement: f.statement(),
        },
        21 => Event::SessionUnpinned { at, session: f.session() },
        6 => Event::StatementSeen(Box::new(StatementSeen {
            at,
            fingerprint: f.statement(),
            text: f.text(0),
        })),
        7 => Event::PoolSampled(PoolSampled {
            at,
            limit: f.int(1),
            open: f.int(2),
            leased: f.int(3),
            waiting: f.int(4),
        }),
        23 => Event::RequestTraced(RequestTraced { at, session: f.session(), trace: f.trace() }),
        22 => Event::LimitChanged(LimitChanged {
            at,
            from: f.int(1),
            to: f.int(2),
            cause: f.one_of(&LimitCause::ALL),
            elasticity_milli: f.int(3).cast_signed(),
            error_milli: f.int(4),
        }),
        _ => Event::RequestRefused(Box::new(Refusal {
            at,
            session: f.session(),
            dyno: f.dyno(),
            waited: f.at(1),
            holders: f.list.iter().map(|&(dyno, held)| (DynoId(dyno), held)).collect(),
        })),
    }
}

/// An event of the database.
fn of_database(variant: usize, f: &Fields) -> Event {
    let at = f.at(0);
    match variant {
        0 => Event::ActivitySampled(Box::new(ActivitySampled {
            at,
            backends: f
                .list
                .iter()
                .map(|&(_, pid)| BackendSample {
                    pid: BackendPid(pid.cast_signed()),
                    state: f.text(0),
                    wait: f.text(1),
                    transaction_age: f.at(1),
                    statement: f.statement(),
                    application: f.text(2),
                })
                .collect(),
        })),
        1 => Event::LockWaitSampled(Box::new(LockWaitSampled {
            at,
            waiter: f.backend(),
            blockers: f.list.iter().map(|&(_, pid)| BackendPid(pid.cast_signed())).collect(),
            mode: f.text(0),
            target: f.text(1),
        })),
        2 => Event::StatementSampled(Box::new(StatementSampled {
            at,
            statement: f.statement(),
            calls: f.numbers[1],
            exec: f.at(2),
            rows: f.numbers[3],
            blocks: f.numbers[4],
        })),
        3 => Event::TableSampled(Box::new(TableSampled {
            at,
            table: f.text(0),
            seq_scans: f.numbers[1],
            seq_rows_read: f.numbers[2],
            index_scans: f.numbers[3],
            live_rows: f.numbers[4],
        })),
        4 => Event::PlanSeen(Box::new(PlanSeen { at, statement: f.statement(), json: f.text(0) })),
        _ => Event::SettingSeen { at, name: f.text(0), value: f.text(1) },
    }
}

/// An event of the platform, or of the recording itself.
fn of_platform(variant: usize, f: &Fields) -> Event {
    let at = f.at(0);
    match variant {
        0 => Event::DynoNamed { at, dyno: f.dyno(), name: f.text(0) },
        1 => Event::DynoStateChanged {
            at,
            dyno: f.dyno(),
            state: f.one_of(&[
                DynoState::Starting,
                DynoState::Up,
                DynoState::Stopping,
                DynoState::Crashed,
                DynoState::Down,
            ]),
        },
        2 => Event::HttpServed(Box::new(HttpServed {
            at,
            dyno: f.dyno(),
            method: f.text(0),
            path: f.text(1),
            status: u16::from(f.code) * 2,
            code: f.text(2),
            service: f.at(1),
            request_id: f.text(3),
            trace: f.trace(),
        })),
        3 => Event::LineLogged(Box::new(LogLine { at, dyno: f.dyno(), text: f.text(0) })),
        4 => Event::Marked { at, text: f.text(0) },
        5 => Event::EventsLost { at, count: f.numbers[1] },
        6 => Event::DynoSized { at, dyno: f.dyno(), size: f.text(0) },
        _ => Event::ReleaseDeployed {
            at,
            version: f.numbers[1],
            config: f.list.iter().map(|&(_, number)| number.to_string().into()).collect(),
        },
    }
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    (0_usize..26, fields()).prop_map(|(variant, fields)| match variant {
        0..9 | 21..24 => of_data_plane(variant, &fields),
        9..15 => of_database(variant - 9, &fields),
        15..21 => of_platform(variant - 15, &fields),
        _ => of_platform(variant - 24 + 6, &fields),
    })
}
