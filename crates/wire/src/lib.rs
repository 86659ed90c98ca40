//! PostgreSQL's language (protocol 3): frames, messages, startup, SCRAM. No sockets.
//!
//! ```text
//!   bytes ──▶ frame::Scanner ──▶ pieces (tag, length) ──▶ frontend / backend readers
//!   values ──▶ frontend / backend builders ──▶ Vec<u8>
//! ```
//!
//! Invariants:
//! * No bytes, however wrong, make this crate panic; lengths are checked before anything is held.
//! * Reading a message allocates nothing: readers borrow from the bytes they are given.
//! * Text stays bytes: its encoding is the client's affair.
//! * No tokio, no socket, no clock, no source of randomness: nonces and salts are handed in.
//!
//! The protocol is chapter 55 of the PostgreSQL manual ("Frontend/Backend Protocol").
//! Start reading at [`frame`], then [`frontend`] and [`backend`].

#![deny(clippy::indexing_slicing)]

pub mod backend;
pub mod cursor;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod scram;
pub mod startup;

pub use error::Error;
pub use frame::{Part, Piece, Scanner, Step};
