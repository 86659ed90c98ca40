//! The distance to PostgreSQL: a socket in front of the server's, through which its answers come
//! later, as they would from another machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Pieces that are on their way at once, on each connection.
const UNDER_WAY: usize = 64;
const PIECE: usize = 16 * 1024;
/// The runtime's timers have a grain of a millisecond and are never early: half of it is taken off,
/// so that the mean is right.
const GRAIN: Duration = Duration::from_micros(500);

/// Ends, with all its connections, when it is dropped.
pub(crate) struct Distance {
    folder: PathBuf,
    _tasks: JoinSet<()>,
}

impl Distance {
    /// Listens in `folder` under the name of the server's own socket.
    pub(crate) fn start(
        folder: PathBuf,
        server: &Path,
        round_trip: Duration,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let name = server.file_name().context("the server's socket has a name")?;
        let path = folder.join(name);
        let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server.to_owned(), round_trip.saturating_sub(GRAIN)));
        Ok(Self { folder, _tasks: tasks })
    }

    /// Where its socket is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

async fn accept(listener: UnixListener, server: PathBuf, delay: Duration) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                connections.spawn(carry(near, server.clone(), delay));
            }
            Err(error) => {
                tracing::warn!(%error, "no way to PostgreSQL");
                sleep_until(Instant::now() + Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// What breaks is seen by both sides: each then has the other's end.
async fn carry(near: UnixStream, server: PathBuf, delay: Duration) -> io::Result<()> {
    let far = UnixStream::connect(server).await?;
    let (mut from_near, to_near) = near.into_split();
    let (from_far, mut to_far) = far.into_split();
    let there = async {
        tokio::io::copy(&mut from_near, &mut to_far).await?;
        to_far.shutdown().await
    };
    tokio::try_join!(there, late(from_far, to_near, delay))?;
    Ok(())
}

/// One direction, each piece so long after it came; what comes after it is on its way meanwhile.
async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let ended = from.read_buf(&mut piece).await? == 0;
            // Nobody takes it any more: the other half has failed and says why.
            if ended || sender.send((Instant::now() + delay, piece)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_late_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let server = folder.path().join(".s.PGSQL.1");
        let listener = UnixListener::bind(&server).unwrap();
        let mut echo = JoinSet::new();
        echo.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let round_trip = Duration::from_millis(30);
        let distance = Distance::start(folder.path().join("far"), &server, round_trip).unwrap();
        let mut client = UnixStream::connect(distance.folder().join(".s.PGSQL.1")).await.unwrap();
        let began = Instant::now();
        client.write_all(b"near").await.unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"near");
        assert!(began.elapsed() >= round_trip - GRAIN, "{:?}", began.elapsed());
        // Pieces are under way together, and end with the end.
        let (mut from, mut to) = client.into_split();
        let sent = vec![b'x'; 3_000_000];
        let send = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let receive = async { from.read_to_end(&mut got).await.unwrap() };
        tokio::join!(send, receive);
        assert_eq!(got, sent);
    }
}
