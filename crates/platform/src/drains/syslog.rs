//! A drain that is a stream of counted messages over TCP.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::connect::{Connector, Stream};
use super::{DrainOptions, frame};
use crate::logs::Tail;

/// What is written at once.
const BATCH_BYTES: usize = 4096;

/// Sends all lines until the log ends.
pub(super) async fn send(
    mut tail: Tail,
    connector: Connector,
    token: &str,
    options: &DrainOptions,
) {
    // What was not taken by the last connection goes first to the next one.
    let mut pending = Vec::new();
    let mut failures = 0;
    loop {
        let over = async {
            let mut stream = connector.connect().await?;
            failures = 0;
            stream_lines(&mut tail, &mut pending, &mut *stream, token, options).await
        };
        match over.await {
            Ok(()) => return,
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, failures, "a log drain does not take lines");
                sleep(options.backoff(failures)).await;
            }
        }
    }
}

/// `Ok` when the log has ended.
async fn stream_lines(
    tail: &mut Tail,
    pending: &mut Vec<u8>,
    stream: &mut dyn Stream,
    token: &str,
    options: &DrainOptions,
) -> io::Result<()> {
    loop {
        if pending.is_empty() {
            let mut heard = [0; 512];
            let entry = tokio::select! {
                biased;
                // A receiver has nothing to say but its end. After that a line would be lost, so
                // this is looked at first.
                read = stream.read(&mut heard) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => continue,
                },
                entry = tail.next() => entry,
            };
            let Some(entry) = entry else { return stream.shutdown().await };
            frame::append(pending, token, &entry, "");
            while pending.len() < BATCH_BYTES
                && let Some(entry) = tail.try_next()
            {
                frame::append(pending, token, &entry, "");
            }
        }
        let written = async {
            stream.write_all(pending).await?;
            stream.flush().await
        };
        timeout(options.answer, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        pending.clear();
    }
}
