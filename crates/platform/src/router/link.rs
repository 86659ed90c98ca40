//! A connection to a dyno, for one request.
//!
//! It is driven by the request's own task, first while its answer is waited for, then while its
//! body is relayed: no task of its own, so that nothing has to be woken across tasks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Upload;
use super::limits::RouterLimits;

/// A connection to a dyno.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Upload>,
    connection: Connection<TokioIo<TcpStream>, Upload>,
    over: bool,
}

impl Link {
    /// Speaks HTTP over a stream.
    pub(super) async fn over(stream: TcpStream, limits: &RouterLimits) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new()
            .max_headers(limits.headers)
            .max_buf_size(limits.response_buffer)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, connection, over: false })
    }

    /// Sends the request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Upload>,
    ) -> hyper::Result<Response<Incoming>> {
        let mut answer = pin!(self.sender.send_request(request));
        let (connection, over) = (&mut self.connection, &mut self.over);
        poll_fn(|context| {
            drive(connection, over, context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// Moves what there is to move.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.over, context);
    }

    /// After an answer with 101: the stream, and what was read from it beyond that answer.
    pub(super) async fn into_stream(mut self) -> (TcpStream, Bytes) {
        // hyper lets go of the stream when it has been told of the switch.
        poll_fn(|context| {
            self.drive(context);
            if self.over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

fn drive(
    connection: &mut Connection<TokioIo<TcpStream>, Upload>,
    over: &mut bool,
    context: &mut Context<'_>,
) {
    // What goes wrong is told by the answer, or by its body.
    if !*over && Pin::new(connection).poll_without_shutdown(context).is_ready() {
        *over = true;
    }
}
