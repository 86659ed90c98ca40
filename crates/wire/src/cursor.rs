//! Reads integers and zero-terminated strings from a slice; `None` where the bytes end too early.

/// A slice and what is left of it.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.left
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.left.is_empty()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.left.split_at_checked(count)?;
        self.left = tail;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        let (first, tail) = self.left.split_first()?;
        self.left = tail;
        Some(*first)
    }

    /// A 16-bit integer, most significant byte first.
    pub fn i16(&mut self) -> Option<i16> {
        let (head, tail) = self.left.split_first_chunk()?;
        self.left = tail;
        Some(i16::from_be_bytes(*head))
    }

    /// A 32-bit integer, most significant byte first.
    pub fn i32(&mut self) -> Option<i32> {
        let (head, tail) = self.left.split_first_chunk()?;
        self.left = tail;
        Some(i32::from_be_bytes(*head))
    }

    /// A string that ends with a zero byte, without that byte.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.left)?;
        let text = self.bytes(end)?;
        self.u8()?;
        Some(text)
    }
}
