//! A client that costs little: the load shares its core with the proxy that is measured.
//!
//! It speaks the simple query protocol over one socket, and reads no more of an answer than whether
//! it was one.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::frame::{Scanner, Step, body};
use wire::{backend, frontend, startup};

/// Longest answer that is believed.
const MESSAGE_MAX: usize = 1 << 20;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    scanner: Scanner,
    /// What was read, and up to where it was looked at.
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// SQLSTATE and message.
    Error(String, String),
}

impl Client {
    /// Connects as a client of this dyno.
    pub(crate) async fn connect(
        address: SocketAddr,
        user: &str,
        dyno: &str,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        let scanner = Scanner::new(MESSAGE_MAX);
        let (input, output) = (Vec::with_capacity(4096), Vec::with_capacity(512));
        let mut client = Self { stream, scanner, input, at: 0, output };
        let parameters: [(&[u8], &[u8]); 3] = [
            (b"user", user.as_bytes()),
            (b"database", b"postgres"),
            (b"application_name", dyno.as_bytes()),
        ];
        startup::put_session(&mut client.output, 0, parameters.into_iter());
        match client.exchange().await? {
            Answer::Done => Ok(client),
            Answer::Error(code, message) => bail!("{code}: {message}"),
        }
    }

    /// One simple query.
    pub(crate) async fn ask(&mut self, statement: &str) -> anyhow::Result<Answer> {
        frontend::put_query(&mut self.output, statement.as_bytes());
        self.exchange().await
    }

    /// Sends what is to be sent, and reads to the next `ReadyForQuery`.
    async fn exchange(&mut self) -> anyhow::Result<Answer> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        let mut answer = Answer::Done;
        loop {
            let unread = self.input.get(self.at..).unwrap_or_default();
            match self.scanner.step(unread, |_, total| total)? {
                Step::Need(_) => self.read().await.with_context(|| format!("{answer:?}"))?,
                Step::Piece(piece) => {
                    let message = unread.get(..piece.len).unwrap_or_default();
                    self.at += piece.len;
                    match piece.tag {
                        backend::tag::READY_FOR_QUERY => return Ok(answer),
                        backend::tag::ERROR_RESPONSE => {
                            let report = backend::Report::read(body(message));
                            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                            answer = Answer::Error(text(report.code), text(report.message));
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.input.drain(..self.at);
        self.at = 0;
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}
