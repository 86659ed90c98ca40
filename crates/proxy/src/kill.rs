//! The order to end, as one session hears it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Ready once the session must end. One for the session's life: it is looked at on every wait, so
/// it registers only when the task that looks is another than before.
pub(crate) struct Kill {
    token: CancellationToken,
    future: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is woken.
    registered: Option<Waker>,
}

impl Kill {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        let future = Box::pin(token.clone().cancelled_owned());
        Self { token: token.clone(), future, registered: None }
    }
}

impl Future for Kill {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return if self.token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending };
        }
        let poll = self.future.as_mut().poll(cx);
        self.registered = poll.is_pending().then(|| cx.waker().clone());
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
