//! The thread that writes: polls the rings, encodes, and writes a frame at least each 100 ms.
//!
//! It polls instead of being woken, because waking a thread costs the hot path a system call.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use trace::{Clock, Event, Micros};

use crate::dictionary::Dictionary;
use crate::error::Error;
use crate::recorder::{Options, Shared, Summary};
use crate::ring::Ring;
use crate::segment::{self, Frame, Segment};

/// How often the rings are emptied.
const POLL: Duration = Duration::from_millis(20);
/// A frame is written when its first event is so old; with a poll more it stays below 100 ms.
const FLUSH_AFTER: Micros = Micros::from_millis(60);
/// A frame is written when it has so many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// Most text of names, statements, settings and plans that is told again in each segment.
const DICTIONARY_BYTES: usize = 16 << 20;

pub(crate) struct Writer {
    dir: PathBuf,
    clock: Clock,
    options: Options,
    shared: Arc<Shared>,
    segment: Segment,
    /// Bytes at which the present segment is full; its head of facts does not count.
    segment_full: u64,
    /// Ended segments that are still there, oldest first, with their bytes.
    ended: VecDeque<(PathBuf, u64)>,
    dictionary: Dictionary,
    frame: Frame,
    /// When the frame was last empty.
    frame_begun: Micros,
    summary: Summary,
}

impl Writer {
    /// Creates the folder and the first segment.
    pub(crate) fn create(
        dir: &Path,
        clock: Clock,
        options: Options,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let cannot = |source| Error::Create { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(cannot)?;
        for entry in fs::read_dir(dir).map_err(cannot)? {
            if segment::number_of(&entry.map_err(cannot)?.path()).is_some() {
                return Err(Error::AlreadyRecorded { dir: dir.to_owned() });
            }
        }
        let segment = Segment::create(dir, 1, clock.now())
            .map_err(|source| Error::Create { path: dir.join(segment::file_name(1)), source })?;
        Ok(Self {
            dir: dir.to_owned(),
            clock,
            options,
            shared,
            segment_full: options.segment_bytes,
            summary: Summary { segments: 1, bytes: segment.bytes(), ..Summary::default() },
            segment,
            ended: VecDeque::new(),
            dictionary: Dictionary::new(DICTIONARY_BYTES),
            frame: Frame::new(),
            frame_begun: clock.now(),
        })
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> Summary {
        let outcome = self.write_all();
        if let Err(error) = outcome {
            self.poison(&error);
            // What was not written may be in the file in part, but no reader will believe it.
            let unwritten = self.frame.events().min(self.summary.events);
            self.summary.events -= unwritten;
            self.count_lost(unwritten);
            // Sinks go on to count; so does the summary.
            while !self.shared.stopping.load(Ordering::Acquire) {
                self.discard();
                std::thread::park_timeout(POLL);
            }
            self.discard();
        }
        self.summary
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            // Read before the rings are emptied: what was told before `finish` is written.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            self.empty_rings()?;
            let age = self.clock.now().since(self.frame_begun);
            if self.frame.payload_bytes() == 0 {
                self.frame_begun = self.clock.now();
            } else if stopping || age >= FLUSH_AFTER {
                self.flush()?;
            }
            if stopping {
                break;
            }
            std::thread::park_timeout(POLL);
        }
        self.segment.end()?;
        self.summary.bytes += segment::END_BYTES;
        self.segment.sync()?;
        fs::File::open(&self.dir)?.sync_all()
    }

    fn empty_rings(&mut self) -> io::Result<()> {
        for ring in self.rings() {
            // At most one fill of the ring, so that a busy sink does not starve the others.
            for _ in 0..ring.capacity() {
                let Some(event) = ring.pop() else { break };
                self.push(&event)?;
            }
            let lost = ring.take_lost();
            if lost > 0 {
                self.count_lost(lost);
                self.push(&Event::EventsLost { at: self.clock.now(), count: lost })?;
            }
        }
        Ok(())
    }

    /// The rings to empty; those without a sink and without an event are forgotten.
    fn rings(&self) -> Vec<Arc<Ring>> {
        let mut rings = self.shared.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| Arc::strong_count(ring) > 1 || !ring.is_empty());
        rings.clone()
    }

    fn push(&mut self, event: &Event) -> io::Result<()> {
        self.dictionary.remember(event);
        if self.frame.push(event) {
            self.summary.events += 1;
        } else {
            self.count_lost(1);
        }
        if self.frame.payload_bytes() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the frame; begins a new segment if this one is full then.
    fn flush(&mut self) -> io::Result<()> {
        let before = self.segment.bytes();
        self.segment.append(&mut self.frame)?;
        self.summary.bytes += self.segment.bytes() - before;
        self.frame_begun = self.clock.now();
        if self.segment.bytes() >= self.segment_full { self.roll() } else { Ok(()) }
    }

    /// Ends the segment, begins the next with all facts, and deletes the oldest if need be.
    ///
    /// The ended segment is not brought to the disk here: that may take seconds, in which the rings
    /// would overflow. A killed process loses nothing by it, a power cut some seconds.
    fn roll(&mut self) -> io::Result<()> {
        self.segment.end()?;
        self.summary.bytes += segment::END_BYTES;
        let number = self.summary.segments + 1;
        let next = Segment::create(&self.dir, number, self.clock.now())?;
        let ended = std::mem::replace(&mut self.segment, next);
        self.ended.push_back((ended.path().to_owned(), ended.bytes()));
        self.summary.segments = number;
        for fact in self.dictionary.facts() {
            self.frame.push(fact);
            if self.frame.payload_bytes() >= FRAME_BYTES {
                self.segment.append(&mut self.frame)?;
            }
        }
        if self.frame.payload_bytes() > 0 {
            self.segment.append(&mut self.frame)?;
        }
        self.summary.bytes += self.segment.bytes();
        self.segment_full = self.segment.bytes() + self.options.segment_bytes;
        self.delete_oldest()
    }

    fn delete_oldest(&mut self) -> io::Result<()> {
        let Some(max_bytes) = self.options.max_bytes else { return Ok(()) };
        let mut bytes: u64 = self.ended.iter().map(|(_, bytes)| bytes).sum();
        while bytes + self.segment.bytes() > max_bytes
            && let Some((path, freed)) = self.ended.pop_front()
        {
            match fs::remove_file(&path) {
                // Somebody else deleted it: that is what was wanted.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => bytes -= freed,
            }
        }
        Ok(())
    }

    fn poison(&mut self, error: &io::Error) {
        let reason = format!("{}: {error}", self.segment.path().display());
        tracing::error!(%reason, "recording stopped; everything from now on is lost");
        self.shared.closed.store(true, Ordering::Relaxed);
        *self.shared.poison.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Empties the rings of a poisoned recorder.
    fn discard(&mut self) {
        for ring in self.rings() {
            let mut lost = ring.take_lost();
            while ring.pop().is_some() {
                lost += 1;
            }
            self.count_lost(lost);
        }
    }

    fn count_lost(&mut self, count: u64) {
        self.summary.lost += count;
        self.shared.lost.fetch_add(count, Ordering::Relaxed);
    }
}
