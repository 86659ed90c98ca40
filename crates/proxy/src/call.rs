//! Where a session is called while it waits in the queue.
//!
//! Made once per session and used for each of its waits, so that waiting allocates nothing. Whoever
//! calls first is heard: a grant, the deadline, or a cancel request.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

/// What a waiting session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has a lease.
    Granted,
    /// Its deadline has passed.
    Late,
    /// A cancel request hit it.
    CalledOff,
    /// The proxy ends and gives no lease any more.
    ShuttingDown,
}

#[derive(Debug, Default)]
struct State {
    turn: Option<Turn>,
    waker: Option<Waker>,
}

/// One session's place to be called at.
#[derive(Debug, Default)]
pub(crate) struct Call(Mutex<State>);

impl Call {
    /// A new wait begins: what was said in the last one is forgotten.
    pub(crate) fn begin(&self) {
        self.0.lock().turn = None;
    }

    /// Tells the session, unless it was told something already.
    pub(crate) fn tell(&self, turn: Turn) {
        let waker = {
            let mut state = self.0.lock();
            if state.turn.is_some() {
                return;
            }
            state.turn = Some(turn);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether a cancel request has hit the wait.
    pub(crate) fn is_called_off(&self) -> bool {
        self.0.lock().turn == Some(Turn::CalledOff)
    }

    /// Returns when the session is told something. Cancellation safe.
    pub(crate) async fn turn(&self) -> Turn {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if let Some(turn) = state.turn {
                return Poll::Ready(turn);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_calls_first_is_heard() {
        let call = Call::default();
        call.begin();
        let (turn, ()) = tokio::join!(call.turn(), async {
            tokio::task::yield_now().await;
            call.tell(Turn::CalledOff);
            call.tell(Turn::Granted);
        });
        assert_eq!(turn, Turn::CalledOff);
        call.begin();
        call.tell(Turn::Late);
        assert_eq!(call.turn().await, Turn::Late);
    }
}
