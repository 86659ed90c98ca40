//! How input and output of an attached process pass over the control socket: one byte for the
//! kind, four for the length (big end first), then so many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Input, Output, WindowSize};

/// Larger ones are not ours.
const FRAME_BYTES_MAX: usize = 1 << 20;
const HEAD: usize = 5;

/// What can be sent in a frame.
pub trait Framed: Sized {
    /// Its kind and its bytes.
    fn parts(&self) -> (u8, Bytes);
    /// What it was.
    fn from_parts(kind: u8, body: Bytes) -> Option<Self>;
}

/// As it goes over the socket.
pub fn encode(value: &impl Framed) -> Bytes {
    let (kind, body) = value.parts();
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u8(kind);
    frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&body);
    frame.freeze()
}

/// Takes the first value out of what has been read; `Ok(None)` while it is not whole.
///
/// # Errors
/// These are no frames.
pub fn decode<T: Framed>(read: &mut BytesMut) -> Result<Option<T>, NoFrame> {
    let Some(mut head) = read.get(..HEAD) else { return Ok(None) };
    let (kind, length) = (head.get_u8(), head.get_u32());
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(NoFrame);
    }
    if read.len() < HEAD + length {
        return Ok(None);
    }
    read.advance(HEAD);
    let body = read.split_to(length).freeze();
    T::from_parts(kind, body).map(Some).ok_or(NoFrame)
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side does not speak in frames")]
pub struct NoFrame;

impl Framed for Input {
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Data(bytes) => (b'i', bytes.clone()),
            Self::End => (b'e', Bytes::new()),
            Self::Resized(size) => {
                let [[a, b], [c, d]] = [size.columns.to_be_bytes(), size.lines.to_be_bytes()];
                (b'w', Bytes::copy_from_slice(&[a, b, c, d]))
            }
            Self::Interrupt => (b'c', Bytes::new()),
        }
    }

    fn from_parts(kind: u8, mut body: Bytes) -> Option<Self> {
        match kind {
            b'i' => Some(Self::Data(body)),
            b'e' if body.is_empty() => Some(Self::End),
            b'w' if body.len() == 4 => {
                Some(Self::Resized(WindowSize { columns: body.get_u16(), lines: body.get_u16() }))
            }
            b'c' if body.is_empty() => Some(Self::Interrupt),
            _ => None,
        }
    }
}

impl Framed for Output {
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Out(bytes) => (b'o', bytes.clone()),
            Self::Err(bytes) => (b'r', bytes.clone()),
            Self::Exited(status) => (b'x', Bytes::copy_from_slice(&status.to_be_bytes())),
        }
    }

    fn from_parts(kind: u8, mut body: Bytes) -> Option<Self> {
        match kind {
            b'o' => Some(Self::Out(body)),
            b'r' => Some(Self::Err(body)),
            b'x' if body.len() == 4 => Some(Self::Exited(body.get_i32())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: Framed + Clone + PartialEq + std::fmt::Debug>(values: &[T]) {
        let wire: Vec<u8> = values.iter().flat_map(|value| encode(value).to_vec()).collect();
        // One byte at a time: no frame may come before it is whole.
        let (mut read, mut seen) = (BytesMut::new(), Vec::new());
        for byte in wire {
            read.put_u8(byte);
            seen.extend(decode::<T>(&mut read).unwrap());
        }
        assert_eq!(seen, values);
        assert!(read.is_empty());
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let size = WindowSize { columns: 80, lines: 24 };
        let data = Input::Data(Bytes::from_static(b"ls\n"));
        there_and_back(&[data, Input::Resized(size), Input::Interrupt, Input::End]);
        let out = Output::Out(Bytes::from_static(b"a"));
        there_and_back(&[out, Output::Err(Bytes::new()), Output::Exited(-1)]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"q\0\0\0\0", b"w\0\0\0\x01x"] {
            let mut read = BytesMut::from(bytes);
            assert_eq!(decode::<Input>(&mut read), Err(NoFrame), "{bytes:?}");
        }
    }
}
