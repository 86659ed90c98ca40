//! Bodies under way: counted, timed, and never held as a whole.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::code::Code;
use super::exchange::Exchange;
use crate::dyno::Lease;

/// The answer of a dyno broke off; the client's connection is closed so that it notices.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the dyno broke off")]
pub(super) struct BrokenOff;

/// What the client gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// The router's own words.
    Text(Full<Bytes>),
    /// The dyno's words, as they come.
    Relay(Box<Relay>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Text(text) => {
                Pin::new(text).poll_frame(context).map_err(|infallible| match infallible {})
            }
            Self::Relay(relay) => relay.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::Relay(relay) => relay.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Relay(relay) => relay.inner.size_hint(),
        }
    }
}

/// A dyno's answer on its way to the client. Holds the claim on the dyno until it is through, and
/// tells of the request then; dropped earlier, the client has gone.
#[derive(Debug)]
pub(super) struct Relay {
    inner: Incoming,
    exchange: Exchange,
    status: u16,
    bytes: u64,
    idle: Duration,
    silence: Pin<Box<Sleep>>,
    /// Given back as soon as the dyno has said all, even if the client still reads.
    lease: Option<Lease>,
}

impl Relay {
    pub(super) fn new(inner: Incoming, exchange: Exchange, status: u16, lease: Lease) -> Self {
        let idle = exchange.shared().timing.idle;
        let silence = Box::pin(sleep(idle));
        let mut relay =
            Self { inner, exchange, status, bytes: 0, idle, silence, lease: Some(lease) };
        if relay.inner.is_end_stream() {
            relay.end(None);
        }
        relay
    }

    fn end(&mut self, code: Option<Code>) {
        let status = code.map_or(self.status, Code::status);
        self.exchange.tell(status, self.bytes, code);
        self.lease = None;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.silence.as_mut().reset(Instant::now() + self.idle);
                // Nobody asks again for what follows the last frame of a known length.
                if self.inner.is_end_stream() {
                    self.end(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                self.end(Some(Code::H18));
                Poll::Ready(Some(Err(BrokenOff)))
            }
            Poll::Ready(None) => {
                self.end(None);
                Poll::Ready(None)
            }
            Poll::Pending if self.silence.as_mut().poll(context).is_ready() => {
                self.end(Some(Code::H15));
                Poll::Ready(Some(Err(BrokenOff)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Does nothing where the end was told already.
        self.end(Some(Code::H27));
    }
}

/// How far a request's body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The last piece came at this time; more are to come.
    Sending(Instant),
    /// All of it was handed to the dyno at this time.
    Sent(Instant),
    /// The client broke off.
    Broken,
}

/// A client's body on its way to the dyno, with its progress for the router's clocks.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Incoming,
    progress: watch::Sender<Progress>,
}

impl Upload {
    pub(super) fn new(inner: Incoming) -> (Self, watch::Receiver<Progress>) {
        let now = Instant::now();
        let first =
            if inner.is_end_stream() { Progress::Sent(now) } else { Progress::Sending(now) };
        let (progress, watcher) = watch::channel(first);
        (Self { inner, progress }, watcher)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        let now = Instant::now();
        let progress = match &polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(_))) if this.inner.is_end_stream() => Progress::Sent(now),
            Poll::Ready(Some(Ok(_))) => Progress::Sending(now),
            Poll::Ready(Some(Err(_))) => Progress::Broken,
            Poll::Ready(None) => Progress::Sent(now),
        };
        this.progress.send_replace(progress);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
