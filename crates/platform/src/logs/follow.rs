//! A file that somebody else writes, in the log: PostgreSQL's own lines.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::sleep;

use super::output::lines;
use super::{LogHub, Source};

/// How often the file is looked at; it tells nobody when it grows.
const LOOK: Duration = Duration::from_millis(200);
/// At most so much is read at once.
const PIECE: usize = 64 * 1024;

impl LogHub {
    /// Writes every line that is added to the file from now on, as `app[process]`; lines that were
    /// written together stay together. Ends only with an error; drop it to end it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn follow_file(&self, path: &Path, process: &str) -> io::Result<()> {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::End(0)).await?;
        let mut pending = Vec::with_capacity(PIECE);
        loop {
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut pending).await?;
            if read == 0 {
                sleep(LOOK).await;
                continue;
            }
            let (found, used) = lines(&pending, false);
            let texts: Vec<&str> = found.iter().map(|line| &**line).collect();
            self.write_together(Source::App, process, &texts);
            drop(found);
            pending.drain(..used);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use trace::Clock;

    use super::*;
    use crate::logs::LogFilter;

    #[tokio::test]
    async fn what_is_added_is_told_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"before\n").unwrap();
        let hub = LogHub::new(Clock::start());
        let mut tail = hub.tail(LogFilter::default().last(0));
        let follower = hub.follow_file(&path, "postgres");
        let reader = async {
            // Written again and again until it is seen: when it begins to look is its own business.
            let first = loop {
                file.write_all(b"[1-1] LOG:  one\n\ttwo\nhal").unwrap();
                if let Ok(line) = tokio::time::timeout(LOOK, tail.next()).await {
                    break line.unwrap();
                }
            };
            let mut texts = vec![first.to_string()];
            texts.push(tail.next().await.unwrap().to_string());
            texts
        };
        let texts = tokio::select! {
            error = follower => panic!("{error:?}"),
            texts = reader => texts,
        };
        assert!(texts[0].ends_with("[1-1] LOG:  one") && texts[0].contains("app[postgres]: "));
        assert!(texts[1].ends_with(" app[postgres]: \ttwo"), "{texts:?}");
    }
}
