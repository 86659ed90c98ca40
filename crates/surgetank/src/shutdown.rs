//! Ctrl-C and SIGTERM end every command the same way: what it started is stopped in order.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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

/// How work that has an orderly end is asked for it.
#[derive(Debug, Default)]
pub(crate) struct Orderly {
    begun: AtomicBool,
    asked: CancellationToken,
}

impl Orderly {
    /// From now on the work ends itself when it is asked to.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Returns when the work is asked to end.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Hands a signal on; `false` if it is to end the work itself: before the work has begun to
    /// serve, or when it was asked already.
    fn ask(&self) -> bool {
        let heard = self.begun.load(Ordering::Relaxed) && !self.asked.is_cancelled();
        self.asked.cancel();
        heard
    }
}

/// As [`until_interrupted`], for work that ends in order when it is asked to, once it has begun to
/// serve: then only a second signal drops it.
pub(crate) fn until_interrupted_twice<T>(
    work: impl AsyncFnOnce(&Orderly) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let orderly = Orderly::default();
    on_runtime(async {
        let work = work(&orderly);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = work.as_mut() => return result,
                signal = interrupted() => signal?,
            }
            if !orderly.ask() {
                return Err(Interrupted.into());
            }
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
