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
use super::link::Link;
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
    /// What brings the body.
    link: Link,
    exchange: Exchange,
    status: u16,
    bytes: u64,
    idle: Duration,
    /// Runs while a piece is waited for.
    silence: Option<Pin<Box<Sleep>>>,
    /// Given back as soon as the dyno has said all, even if the client still reads.
    lease: Option<Lease>,
}

impl Relay {
    pub(super) fn new(
        inner: Incoming,
        link: Link,
        exchange: Exchange,
        status: u16,
        lease: Lease,
    ) -> Self {
        let idle = exchange.shared().timing.idle;
        let (silence, lease) = (None, Some(lease));
        let mut relay = Self { inner, link, exchange, status, bytes: 0, idle, silence, lease };
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
        let mut polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_pending() {
            self.link.drive(context);
            polled = Pin::new(&mut self.inner).poll_frame(context);
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.silence = None;
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
            Poll::Pending => {
                let idle = self.idle;
                let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(idle)));
                if silence.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.end(Some(Code::H15));
                Poll::Ready(Some(Err(BrokenOff)))
            }
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
    /// Nothing where there is no body.
    progress: Option<watch::Sender<Progress>>,
}

impl Upload {
    /// With no watcher where there is no body: all of the request is sent at once then.
    pub(super) fn new(inner: Incoming) -> (Self, Option<watch::Receiver<Progress>>) {
        if inner.is_end_stream() {
            return (Self { inner, progress: None }, None);
        }
        let (progress, watcher) = watch::channel(Progress::Sending(Instant::now()));
        (Self { inner, progress: Some(progress) }, Some(watcher))
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
        let Some(told) = &this.progress else { return polled };
        let now = Instant::now();
        let progress = match &polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(_))) if this.inner.is_end_stream() => Progress::Sent(now),
            Poll::Ready(Some(Ok(_))) => Progress::Sending(now),
            Poll::Ready(Some(Err(_))) => Progress::Broken,
            Poll::Ready(None) => Progress::Sent(now),
        };
        told.send_replace(progress);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
