//! The answers that a server owes, one by one.

use wire::backend::{self, tag};

use crate::statements::CopyNumber;

/// An answer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The opening of the session, up to its first `ReadyForQuery` (`observe` mode).
    Connect,
    /// `ReadyForQuery`, after whatever a simple query yields.
    Query,
    /// `ReadyForQuery`, after a function's result.
    Function,
    /// `ReadyForQuery`.
    Sync,
    /// `ParseComplete`; the copy is on the server once it came. The unnamed one, and one under
    /// the client's own name, have no number.
    Parse(Option<CopyNumber>, Shown),
    /// `BindComplete`.
    Bind,
    /// `RowDescription` or `NoData`, a `ParameterDescription` before it.
    Describe(Shown),
    /// Rows, then `CommandComplete`, `EmptyQueryResponse` or `PortalSuspended`; or COPY.
    Execute,
    /// `CloseComplete`, of this copy or of whatever the client has named.
    Close(Option<CopyNumber>, Shown),
    /// An error, which was provoked ahead of the client's request.
    Failure,
    /// An error, which was provoked so that the client's batch fails on the server too: the client
    /// sees one of ours in its place.
    Refused,
    /// No answer: from here on a change of the session's names counts.
    NameChange,
    /// No answer: marks where the client ended its COPY data.
    CopyEnd,
    /// An answer that the proxy gives itself when its turn comes.
    Ours(OurReply),
    /// Up to its `ReadyForQuery` what a query of the proxy's own yields: none of the client's
    /// business, part of no request.
    Aside,
}

/// Whether the client sees an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It asked.
    Client,
    /// The proxy asked, for its own purposes.
    Nobody,
}

/// A reply that the proxy gives in the server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OurReply {
    /// The name is forgotten; the copy on the server stays, for others.
    CloseComplete,
}

impl OurReply {
    /// Appends the message.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let tag = match self {
            Self::CloseComplete => tag::CLOSE_COMPLETE,
        };
        backend::put_bare(out, tag);
    }
}

impl Expect {
    /// Whether its answer ends with `ReadyForQuery`.
    pub(super) fn ends_request(self) -> bool {
        matches!(self, Self::Connect | Self::Query | Self::Function | Self::Sync)
    }

    /// Whether it only marks a place among the answers.
    pub(super) fn is_mark(self) -> bool {
        matches!(self, Self::CopyEnd | Self::NameChange)
    }

    /// Whether a message may be part of the answer without ending it.
    pub(super) fn includes(self, tag: u8) -> bool {
        match self {
            Self::Connect | Self::Query | Self::Function => true,
            Self::Execute => {
                matches!(
                    tag,
                    tag::DATA_ROW | tag::COPY_OUT_RESPONSE | tag::COPY_DATA | tag::COPY_DONE
                )
            }
            Self::Describe(_) => tag == tag::PARAMETER_DESCRIPTION,
            Self::Sync
            | Self::Parse(..)
            | Self::Bind
            | Self::Close(..)
            | Self::Failure
            | Self::Refused
            | Self::NameChange
            | Self::CopyEnd
            | Self::Ours(_)
            | Self::Aside => false,
        }
    }
}
