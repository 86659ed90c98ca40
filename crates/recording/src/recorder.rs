//! The recorder as the rest of Surgetank sees it: start, hand out sinks, finish.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use trace::Clock;

use crate::error::Error;
use crate::ring::{RecorderSink, Ring};
use crate::writer::Writer;

/// How to record.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A new segment is begun when one has so many bytes. Turn it down with `max_bytes`, so that
    /// less is deleted at a time.
    pub segment_bytes: u64,
    /// The oldest segments are deleted when all together have more bytes; `None` keeps all.
    pub max_bytes: Option<u64>,
    /// Events that each sink may hold until the writer comes (some 100 bytes each). The writer
    /// comes every 20 ms; turn it up if losses are counted.
    pub ring_capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_bytes: None, ring_capacity: 16 * 1024 }
    }
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events written, facts told again in later segments not counted.
    pub events: u64,
    /// Bytes written, deleted segments included.
    pub bytes: u64,
    /// Events that found no room.
    pub lost: u64,
    /// Segments written, deleted ones included.
    pub segments: u32,
}

/// How a recorder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It records.
    Recording,
    /// It stopped because of an error of the disk, and counts everything as lost.
    Poisoned {
        /// What the disk said, and of which file.
        reason: String,
    },
}

/// What recorder and writer thread share.
pub(crate) struct Shared {
    /// One for each call of [`Recorder::sink`], until its sinks are gone.
    pub(crate) rings: Mutex<Vec<Arc<Ring>>>,
    /// The sinks refuse.
    pub(crate) closed: Arc<AtomicBool>,
    /// The writer shall drain, end the recording and return.
    pub(crate) stopping: AtomicBool,
    /// Losses counted so far.
    pub(crate) lost: AtomicU64,
    pub(crate) poison: Mutex<Option<String>>,
}

impl Shared {
    /// Why the recorder is poisoned, if it is.
    pub(crate) fn poison(&self) -> Option<String> {
        self.poison.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes what its sinks are told into a folder, from a thread of its own.
///
/// Dropping it ends the recording as [`finish`](Self::finish) does, without telling how it went.
pub struct Recorder {
    shared: Arc<Shared>,
    /// Taken by `finish`.
    writer: Option<JoinHandle<Summary>>,
    ring_capacity: usize,
}

impl Recorder {
    /// Begins a recording in `dir`, which is created if need be.
    ///
    /// # Errors
    /// If `dir` holds a recording already, or cannot be written to.
    pub fn start(dir: &Path, clock: Clock) -> Result<Self, Error> {
        Self::start_with(dir, clock, Options::default())
    }

    /// As [`start`](Self::start), with other options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(dir: &Path, clock: Clock, options: Options) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            rings: Mutex::new(Vec::new()),
            closed: Arc::new(AtomicBool::new(false)),
            stopping: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            poison: Mutex::new(None),
        });
        let writer = Writer::create(dir, clock, options, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("surgetank-recorder".to_owned());
        let writer = thread
            .spawn(move || writer.run())
            .map_err(|source| Error::Create { path: dir.to_owned(), source })?;
        Ok(Self { shared, writer: Some(writer), ring_capacity: options.ring_capacity })
    }

    /// A sink with a ring of its own. Its clones share that ring.
    #[must_use]
    pub fn sink(&self) -> RecorderSink {
        let ring = Arc::new(Ring::new(self.ring_capacity, Arc::clone(&self.shared.closed)));
        let mut rings = self.shared.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.push(Arc::clone(&ring));
        RecorderSink { ring }
    }

    /// Whether it still records, and if not, why.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.poison().map_or(Health::Recording, |reason| Health::Poisoned { reason })
    }

    /// Events lost so far, as far as the writer has counted them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Ends the recording: what the sinks took before is written and brought to the disk.
    ///
    /// Stop those who record first; what they tell from now on is refused. Blocks for as long as
    /// the disk takes.
    ///
    /// # Errors
    /// If the recording stopped early because of an error of the disk.
    pub fn finish(mut self) -> Result<Summary, Error> {
        let summary = self.stop().unwrap_or_default();
        match self.shared.poison() {
            None => Ok(summary),
            Some(reason) => Err(Error::Poisoned { reason, lost: summary.lost }),
        }
    }

    /// Ends the thread; `None` if it was ended before.
    fn stop(&mut self) -> Option<Summary> {
        let writer = self.writer.take()?;
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.stopping.store(true, Ordering::Release);
        writer.thread().unpark();
        let ended = writer.join();
        if ended.is_err() {
            let mut poison = self.shared.poison.lock().unwrap_or_else(PoisonError::into_inner);
            poison.get_or_insert_with(|| "the writer thread panicked".to_owned());
        }
        ended.ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("health", &self.health()).finish_non_exhaustive()
    }
}
