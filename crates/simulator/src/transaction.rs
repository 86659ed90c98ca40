//! A transaction, and a row it may want for itself.

use std::collections::VecDeque;

use admission::{Cost, Ticket};
use trace::Fingerprint;

/// A transaction on its way. Numbers are used again; `serial` tells one from the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) serial: u32,
    pub(crate) group: usize,
    pub(crate) proxy: usize,
    /// When the client first wanted it, in seconds.
    pub(crate) asked: f64,
    pub(crate) tries: u32,
    /// Nobody waits for it any more.
    pub(crate) abandoned: bool,
    pub(crate) stage: Stage,
    /// Its place in the admission, if that is what it passes.
    pub(crate) ticket: Option<Ticket>,
    /// Since when it has its connection.
    pub(crate) held: f64,
    /// The statement in hand, from 0; since when it executes; its turns left.
    pub(crate) statement: usize,
    pub(crate) since: f64,
    pub(crate) turns: usize,
    pub(crate) long: bool,
    /// What it was credited, in seconds.
    pub(crate) work: Cost,
    pub(crate) row: Option<usize>,
    /// Processor time to pay for being woken.
    pub(crate) wake: f64,
}

/// Where it is, as the proxy sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Queued,
    Executing,
    /// Its client has the word.
    Idle,
}

/// A row that is locked until its transaction ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) held: bool,
    pub(crate) waiting: VecDeque<u32>,
}

/// The statement of a group, the same wherever a group has this name.
pub(crate) fn fingerprint(group: &str, statement: usize) -> Fingerprint {
    let hash = group.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Fingerprint(hash.wrapping_add(statement as u64))
}
