//! The client's half of a conversation: what each of its messages asks of the server.

use trace::{Fingerprint, RequestKind};

use super::{Batch, Conversation, CopyIn, Expect, Pending, Times};

impl Conversation {
    /// The session was opened.
    pub(crate) fn connect(&mut self, times: Times) {
        self.begin(RequestKind::Connect, times);
        self.expected.push_back(Expect::Connect);
    }

    /// A simple query.
    pub(crate) fn query(&mut self, statement: Fingerprint, times: Times) {
        self.closing(RequestKind::Simple, Expect::Query, times);
        self.name(statement);
    }

    /// A function call.
    pub(crate) fn function(&mut self, times: Times) {
        self.closing(RequestKind::Function, Expect::Function, times);
    }

    /// `Query` and `FunctionCall` also end a batch that has no Sync.
    fn closing(&mut self, kind: RequestKind, expect: Expect, times: Times) {
        match self.batch {
            Batch::None => self.begin(kind, times),
            Batch::Open => self.batch = Batch::None,
            Batch::Skipped => return,
        }
        self.expected.push_back(expect);
    }

    /// A message of the extended protocol other than Sync.
    pub(crate) fn extended(&mut self, expect: Option<Expect>, times: Times) {
        if self.batch == Batch::None {
            self.begin(RequestKind::Extended, times);
            self.batch = Batch::Open;
        }
        if self.batch == Batch::Open {
            self.expected.extend(expect);
        }
    }

    /// What the client said last changes the session's names, if the server comes to it.
    pub(crate) fn changes_name(&mut self) {
        if self.batch != Batch::Skipped {
            self.expected.push_back(Expect::NameChange);
            // Nothing that could fail comes before.
            if self.expected.len() == 1 {
                self.pass_marks();
            }
        }
    }

    /// A Sync.
    pub(crate) fn sync(&mut self, times: Times) {
        if let CopyIn::Receiving { ignored } = &mut self.copy {
            *ignored += 1;
            return;
        }
        if self.batch == Batch::None {
            self.begin(RequestKind::Extended, times);
            if let Some(request) = self.pending.back_mut() {
                request.bare = true;
            }
        }
        self.batch = Batch::None;
        self.expected.push_back(Expect::Sync);
    }

    /// The proxy itself sends a simple query, between two requests.
    pub(crate) fn aside(&mut self) {
        self.expected.push_back(Expect::Aside);
    }

    /// `CopyDone` or `CopyFail`.
    pub(crate) fn copy_end(&mut self) {
        match self.copy {
            CopyIn::Receiving { ignored } => self.copy = CopyIn::Ended { ignored },
            // Sent ahead of the server's CopyInResponse; else it is stray, and the server drops it.
            CopyIn::No | CopyIn::Ended { .. } if !self.expected.is_empty() => {
                self.expected.push_back(Expect::CopyEnd);
            }
            CopyIn::No | CopyIn::Ended { .. } => {}
        }
    }

    /// Bytes that the client sent, as part of its latest request.
    pub(crate) fn bytes_in(&mut self, count: usize) {
        if let Some(request) = self.pending.back_mut() {
            request.bytes_in += count as u64;
        }
    }

    /// The statement of the latest request, unless it has one: of a batch the first counts.
    pub(crate) fn name(&mut self, statement: Fingerprint) {
        if let Some(request) = self.pending.back_mut()
            && request.statement == Fingerprint::NONE
        {
            request.statement = statement;
        }
    }

    fn begin(&mut self, kind: RequestKind, times: Times) {
        let Times { arrived, assigned, sent } = times;
        self.pending.push_back(Pending {
            kind,
            statement: Fingerprint::NONE,
            arrived,
            assigned,
            sent,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            rows: 0,
            failed: None,
            bare: false,
        });
    }
}
