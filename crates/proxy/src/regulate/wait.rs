//! Waiting for a server connection, and telling the client that it does.

use std::pin::Pin;

use tokio::time::Sleep;
use trace::{Micros, SqlState};

use super::{Failure, House, Session};
use crate::answer::Answer;
use crate::backend::Backend;
use crate::call::Turn;
use crate::gate::{Lease, Waiting};
use crate::pump::End;
use crate::timer::sleep;

impl Session {
    /// Waits for its turn.
    pub(super) async fn wait(&mut self, waiting: Waiting) -> Result<Lease, Failure> {
        let Self { client, entry, kill, talk, house, told, .. } = self;
        entry.target.wait();
        let since = talk.waits_since();
        talk.journal.card.waits(since);
        let mut tells = Long::new(house, since).filter(|_| *told != since);
        loop {
            tokio::select! {
                biased;
                turn = waiting.turn() => match turn {
                    Turn::Granted => break,
                    Turn::Late => return Err(Failure::Late),
                    Turn::CalledOff => return Err(Failure::CalledOff),
                    Turn::ShuttingDown => {
                        return Err(Failure::Over(End::dismissed(Answer::shutting_down())));
                    }
                },
                () = &mut *kill => {
                    return Err(Failure::Over(End::dismissed(talk.journal.card.farewell())));
                }
                // What has arrived is executed, whether or not the client is still there.
                _ = client.listen(), if !client.inbox.has_ended() => {}
                notice = due(&mut tells), if tells.is_some() => {
                    // Written by whoever listens next.
                    notice.put_notice(client.outbox.bytes());
                    (tells, *told) = (None, since);
                }
            }
        }
        waiting.into_lease().ok_or(Failure::Late)
    }
}

/// What opening a server connection led to.
pub(super) enum Connected {
    /// Here it is; whether it had to be opened.
    Yes(Lease, Box<Backend>, bool),
    /// PostgreSQL had no room, or cannot be reached: the place in the queue is kept.
    BackInLine(Waiting),
}

/// A wait whose client is to be told when it gets long.
struct Long {
    after: Micros,
    /// In a box: waits are many, and few are told.
    due: Pin<Box<Sleep>>,
}

impl Long {
    /// Of a request that waits since then, if clients are to be told.
    fn new(house: &House, since: Micros) -> Option<Self> {
        let after = house.notice_after()?;
        let left = after - house.journal.now().since(since);
        Some(Self { after, due: Box::pin(sleep(left.to_duration())) })
    }
}

/// Returns when it is due, with what is to be said. Cancellation safe.
async fn due(long: &mut Option<Long>) -> Answer {
    let Some(Long { after, due }) = long else { return std::future::pending().await };
    due.await;
    let mut answer = Answer::new(
        SqlState(*b"00000"),
        format!(
            "surgetank: this request has waited for a server connection for {} s and goes on \
             waiting",
            after.as_secs_f64()
        ),
    );
    "SHOW WAITERS on the admin database says who holds them".clone_into(&mut answer.hint);
    answer
}
