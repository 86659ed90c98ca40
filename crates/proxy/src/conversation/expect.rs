//! The answers that a server owes, one by one.

use wire::backend::{self, tag};

use crate::statements::StatementId;

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
    /// `ParseComplete`; the statement is on the server once it came.
    Parse(Option<StatementId>, Shown),
    /// `BindComplete`.
    Bind,
    /// `RowDescription` or `NoData`, a `ParameterDescription` before it.
    Describe,
    /// Rows, then `CommandComplete`, `EmptyQueryResponse` or `PortalSuspended`; or COPY.
    Execute,
    /// `CloseComplete`.
    Close(Shown),
    /// An error, which was provoked.
    Failure,
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
    /// The statement is on this server connection already.
    ParseComplete,
    /// The name is forgotten; the statement stays, for others.
    CloseComplete,
}

impl OurReply {
    /// Appends the message.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let tag = match self {
            Self::ParseComplete => tag::PARSE_COMPLETE,
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
            Self::Describe => tag == tag::PARAMETER_DESCRIPTION,
            Self::Sync
            | Self::Parse(..)
            | Self::Bind
            | Self::Close(_)
            | Self::Failure
            | Self::CopyEnd
            | Self::Ours(_)
            | Self::Aside => false,
        }
    }
}
