//! Ctrl-C and SIGTERM end every command the same way: what it started is stopped in order.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Interrupted;

/// Runs `work` on a multi-thread runtime.
pub(crate) fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Runs `work` until it ends or somebody asks us to stop. When asked, `work` is dropped: all
/// guards it holds (cluster, dynos, folders) clean up in their `Drop`. The signals stay caught
/// until that is done, so that a second Ctrl-C leaves nothing behind either.
pub(crate) fn until_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    on_runtime(async {
        tokio::select! {
            result = work => result,
            signal = interrupted() => { signal?; Err(Interrupted.into()) }
        }
    })
}

/// Ends when SIGINT, SIGTERM or SIGHUP comes.
pub(crate) async fn interrupted() -> std::io::Result<()> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// What asks a service to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGINT, SIGTERM: to end.
    End,
    /// SIGHUP: to read its configuration again.
    Reload,
}

/// The signals of a service, caught from its making on.
#[derive(Debug)]
pub(crate) struct ServiceSignals {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl ServiceSignals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.int.recv() => Asked::End,
            _ = self.term.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
