//! Time limits of sessions, kept by a thread of their own.
//!
//! A runtime that keeps time looks at its timers whenever it waits for the network: it reads the
//! clock twice, takes a lock, and tells the kernel when to wake it. A session hardly ever waits for
//! time and always for the network, so the workers' runtimes keep none: one thread keeps it for all
//! workers of a proxy and wakes whoever's time has come.

use std::cell::OnceCell;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time;

thread_local! {
    /// Who keeps the time of this thread; nobody but its own runtime, if it is not a worker's.
    static KEEPER: OnceCell<Handle> = const { OnceCell::new() };
}

/// The thread that keeps time. Dropped, it ends: by then nobody may wait any more.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Timekeeper {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("proxy-time".to_owned()).spawn(move || {
            // Nothing is ever sent.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _end: end })
    }

    /// From now on this one keeps the time of the calling thread.
    pub(crate) fn keep_time_here(&self) {
        KEEPER.with(|keeper| {
            // A second call changes nothing: a worker's thread belongs to one proxy.
            let _ = keeper.set(self.handle.clone());
        });
    }
}

/// Makes something that waits for time where time is kept.
fn kept<T>(make: impl FnOnce() -> T) -> T {
    KEEPER.with(|keeper| {
        let _kept = keeper.get().map(Handle::enter);
        make()
    })
}

/// [`tokio::time::timeout`], anywhere.
pub(crate) fn timeout<F: Future>(limit: Duration, future: F) -> time::Timeout<F> {
    kept(|| time::timeout(limit, future))
}

/// [`tokio::time::sleep`], anywhere.
pub(crate) fn sleep(duration: Duration) -> time::Sleep {
    kept(|| time::sleep(duration))
}

/// [`tokio::time::interval`], anywhere.
pub(crate) fn interval(period: Duration) -> time::Interval {
    kept(|| time::interval(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_without_timers_has_its_time_kept() {
        let keeper = Timekeeper::start().expect("a thread");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        thread::spawn(move || {
            keeper.keep_time_here();
            runtime.block_on(async {
                sleep(Duration::from_millis(1)).await;
                let mut ticks = interval(Duration::from_millis(1));
                ticks.tick().await;
                ticks.tick().await;
                let never = timeout(Duration::from_millis(1), std::future::pending::<()>());
                assert!(never.await.is_err());
                let at_once = timeout(Duration::from_secs(600), async { 7 });
                assert_eq!(at_once.await.ok(), Some(7));
            });
        })
        .join()
        .expect("it ends");
    }
}
