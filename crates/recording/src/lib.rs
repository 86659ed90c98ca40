//! The story on disk: a crash-safe recorder, its format, and its reader.
//!
//! ```text
//!   proxy worker ─▶ RecorderSink ─ ring ─┐
//!   observer ─────▶ RecorderSink ─ ring ─┼▶ writer thread ─▶ segment-000001.sgt … ─▶ Recording
//!   platform ─────▶ RecorderSink ─ ring ─┘   (polls, encodes, one write(2) a frame)
//! ```
//!
//! Invariants:
//! * Recording never disturbs what is recorded: a sink pushes into a bounded lock-free ring, or
//!   drops and counts; it never waits, wakes nobody and touches no file.
//! * `kill -9` loses at most the last 100 ms. What loss there was is in the recording
//!   ([`trace::Event::EventsLost`]), or visible as a torn tail.
//! * After an error of the disk the recorder is poisoned: it writes nothing more, counts all that
//!   comes as lost, and says why ([`Recorder::health`]).
//! * Bytes from a file are checked before they are believed; no file makes the reader panic.
//!
//! The format is described in `docs/recording-format.md`. Start reading at [`recorder`], then
//! `writer`, `segment` and `codec`; the other direction begins at [`reader`].

pub mod error;
pub mod reader;
pub mod recorder;
pub mod ring;

#[cfg(test)]
mod arbitrary;
mod codec;
mod dictionary;
mod segment;
mod writer;

pub use error::Error;
pub use reader::Recording;
pub use recorder::{Health, Options, Recorder, Summary};
pub use ring::RecorderSink;
