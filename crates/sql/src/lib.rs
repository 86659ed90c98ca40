//! What a statement is, from its text alone: fingerprint, kind, session effect, comment tags.
//!
//! ```text
//!   text ─▶ lexer ─▶ pieces (literals recognised, lists collapsed) ─▶ read       (hot path)
//!                                                                  └▶ normalise  (once each)
//! ```
//!
//! There is no grammar here. What must be *right* about a statement (its relations, its columns,
//! the volatility of its functions) is asked of PostgreSQL itself; this room only recognises.
//!
//! Invariants:
//! * [`read()`] and [`normalise()`] see the same pieces, so a normalised text has its original's
//!   fingerprint; so has the text that `pg_stat_statements` keeps.
//! * [`read()`] allocates nothing; its time is linear in the length of the text.
//! * No input makes any function panic; unterminated strings and comments reach to the end.
//!
//! Start reading at `read.rs`.

mod canon;
mod classify;
mod comment;
mod functions;
mod identifiers;
mod kind;
mod lexer;
mod normalise;
mod pieces;
mod read;
mod settings;
mod skeleton;

pub use comment::comment_tags;
pub use identifiers::{Identifier, identifiers};
pub use kind::{Effects, Kind, SessionEffect};
pub use normalise::normalise;
pub use read::{Statement, fingerprint, read};
pub use settings::{Restored, Touched, body_settings, settings};
pub use skeleton::skeleton;
