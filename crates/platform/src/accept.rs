//! Accepting connections, in one way for all that listen.

use std::io;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// After a failed `accept` (out of file descriptors), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// The next connection, or `None` once it is `closing`. What cannot be accepted is logged as the
/// trouble of `who`, and a moment later it is tried again.
pub async fn next<C, F: Future<Output = io::Result<C>>>(
    who: &str,
    accept: impl Fn() -> F,
    closing: &CancellationToken,
) -> Option<C> {
    let accepted = async {
        loop {
            match accept().await {
                Ok(connection) => return connection,
                Err(error) => {
                    tracing::warn!(%error, "{who} cannot accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    closing.run_until_cancelled(accepted).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_waited_out_until_it_closes() {
        let closing = CancellationToken::new();
        let tries = Cell::new(0);
        let third = || async {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(tries.get()) }
        };
        assert_eq!(next("it", &third, &closing).await, Some(3));
        let never = || async { Err::<u32, _>(io::ErrorKind::OutOfMemory.into()) };
        let close = async {
            sleep(10 * PAUSE).await;
            closing.cancel();
        };
        let (ended, ()) = tokio::join!(next("it", &never, &closing), close);
        assert_eq!(ended, None);
    }
}
