//! The order to end, as one session hears it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Ready once the session must end. One for the session's life: it is looked at on every wait, and
/// asking the token takes its lock, so it is asked only when it has rung.
pub(crate) struct Kill {
    future: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What the token rings.
    bell: Option<Arc<Bell>>,
}

/// Wakes a task, and remembers that it did.
struct Bell {
    task: Waker,
    has_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Kill {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        Self { future: Box::pin(token.clone().cancelled_owned()), bell: None }
    }
}

impl Future for Kill {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(bell) = &self.bell
            && bell.task.will_wake(cx.waker())
            && !bell.has_rung.load(Ordering::Acquire)
        {
            return Poll::Pending;
        }
        let bell = Arc::new(Bell { task: cx.waker().clone(), has_rung: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&bell));
        let poll = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.bell = poll.is_pending().then_some(bell);
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_heard_whether_registered_or_not() {
        let token = CancellationToken::new();
        let mut kill = Kill::new(&token);
        let looks = async {
            for _ in 0..3 {
                tokio::select! {
                    biased;
                    () = &mut kill => panic!("not yet"),
                    () = tokio::task::yield_now() => {}
                }
            }
            kill.await;
        };
        let ((), ()) = tokio::join!(looks, async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            token.cancel();
        });
        Kill::new(&token).await;
    }
}
