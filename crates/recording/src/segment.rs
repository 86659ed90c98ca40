//! One file of a recording: a header, then frames, then an end mark.
//!
//! ```text
//!   header  magic "SGTREC\r\n" · version u16 · reserved u16 · number u32 · wall u64 · crc u32
//!   frame   length u32 · crc u32 · payload[length]      (events, see `codec`)
//!   end     a frame of length 0
//! ```
//! Integers are little-endian. A frame's CRC-32 covers its length and its payload, so that a
//! damaged length is noticed too.

#![deny(clippy::indexing_slicing)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use trace::{Event, Micros};

use crate::codec;

/// The line feed and carriage return show a transfer in text mode, as in PNG.
const MAGIC: [u8; 8] = *b"SGTREC\r\n";

/// The version of the format that this program writes and reads.
pub(crate) const VERSION: u16 = 1;

const HEADER_BYTES: usize = 28;
const FRAME_HEADER_BYTES: usize = 8;
/// Bytes of the end mark.
pub(crate) const END_BYTES: u64 = 8;

/// `segment-000001.sgt`.
pub(crate) fn file_name(number: u32) -> String {
    format!("segment-{number:06}.sgt")
}

/// The number in a segment's file name; `None` for other files.
pub(crate) fn number_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("segment-")?.strip_suffix(".sgt")?.parse().ok()
}

// === writing ===

/// A segment being written.
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    /// Bytes written, header included.
    bytes: u64,
}

impl Segment {
    /// Creates the file; it must not exist.
    pub(crate) fn create(dir: &Path, number: u32, at: Micros) -> io::Result<Self> {
        let path = dir.join(file_name(number));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let header = header(number, at);
        file.write_all(&header)?;
        Ok(Self { path, file, bytes: u64::try_from(header.len()).unwrap_or(0) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes one frame with one `write(2)`.
    pub(crate) fn append(&mut self, frame: &mut Frame) -> io::Result<()> {
        let bytes = frame.seal()?;
        // Only a full disk or a signal makes this more than one call.
        self.file.write_all(bytes)?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        frame.clear();
        Ok(())
    }

    /// Writes the end mark.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.append(&mut Frame::new())
    }

    /// Waits until the disk has it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn header(number: u32, at: Micros) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 2]);
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&at.0.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// A frame being filled; its buffer is used again for the next.
pub(crate) struct Frame {
    /// Room for length and CRC, then the payload.
    buffer: Vec<u8>,
    /// How many events it holds.
    events: u64,
}

impl Frame {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; FRAME_HEADER_BYTES], events: 0 }
    }

    /// Adds an event; `false` if it is too long for the format.
    pub(crate) fn push(&mut self, event: &Event) -> bool {
        let encoded = codec::encode(event, &mut self.buffer);
        self.events += u64::from(encoded);
        encoded
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(FRAME_HEADER_BYTES)
    }

    fn clear(&mut self) {
        self.buffer.truncate(FRAME_HEADER_BYTES);
        self.events = 0;
    }

    /// Fills in length and CRC.
    fn seal(&mut self) -> io::Result<&[u8]> {
        let length = u32::try_from(self.payload_bytes())
            .map_err(|_| io::Error::other("a frame beyond 4 GiB"))?
            .to_le_bytes();
        if let Some((header, payload)) = self.buffer.split_at_mut_checked(FRAME_HEADER_BYTES) {
            let crc = frame_crc(length, payload).to_le_bytes();
            for (to, from) in header.iter_mut().zip(length.into_iter().chain(crc)) {
                *to = from;
            }
        }
        Ok(&self.buffer)
    }
}

fn frame_crc(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(payload);
    crc.finalize()
}

// === reading ===

/// How a segment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its end mark.
    Marked,
    /// Behind a whole frame: its writer still writes, or was killed between two frames.
    Unmarked,
    /// Within something that is no frame; what is wrong with it, and where.
    Torn(String),
}

/// A header that is whole but not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherVersion(pub(crate) u16);

/// Reads a segment's bytes into `events`, up to the first thing that is damaged.
///
/// # Errors
/// If the segment has a sound header of another version.
pub(crate) fn read(bytes: &[u8], events: &mut Vec<Event>) -> Result<End, OtherVersion> {
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Ok(End::Torn("its header is cut off".to_owned()));
    };
    let version = match check_header(header) {
        Ok(version) => version,
        Err(damage) => return Ok(End::Torn(damage.to_owned())),
    };
    if version != VERSION {
        return Err(OtherVersion(version));
    }
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let torn = |what: &str| {
            End::Torn(format!("{what} at byte {offset}, {} bytes were not read", rest.len()))
        };
        let Some((payload, behind)) = split_frame(rest) else {
            return Ok(torn("a frame is cut off"));
        };
        let Some(payload) = payload else { return Ok(torn("a frame is damaged")) };
        if payload.is_empty() {
            return Ok(if behind.is_empty() {
                End::Marked
            } else {
                torn("bytes stand behind the end mark")
            });
        }
        if let Err(codec::Corrupt(what)) = codec::decode_all(payload, events) {
            return Ok(torn(what));
        }
        rest = behind;
    }
    Ok(End::Unmarked)
}

/// The version in a sound header, or what is wrong with it.
fn check_header(header: &[u8]) -> Result<u16, &'static str> {
    let (content, crc) = header.split_last_chunk().ok_or("its header is cut off")?;
    if u32::from_le_bytes(*crc) != crc32fast::hash(content) {
        return Err("its header is damaged");
    }
    let content = content.strip_prefix(&MAGIC).ok_or("it is no segment of a recording")?;
    let version = content.first_chunk().ok_or("its header is cut off")?;
    Ok(u16::from_le_bytes(*version))
}

/// A frame's payload (`None` inside if its CRC is wrong) and what follows; `None` if it is cut off.
fn split_frame(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, behind) = rest.split_at_checked(count)?;
    let sound = u32::from_le_bytes(*crc) == frame_crc(*length, payload);
    Some((sound.then_some(payload), behind))
}

#[cfg(test)]
mod tests;
