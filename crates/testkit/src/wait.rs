//! Waiting for a condition instead of sleeping.

use std::time::Duration;

use tokio::time::Instant;

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not hold within `limit`: the test has failed.
#[track_caller]
pub fn wait_until(
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        while !condition() {
            assert!(Instant::now() < deadline, "not within {limit:?}: the condition at {caller}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_once_the_condition_holds() {
        let mut looks = 0;
        wait_until(Duration::from_secs(10), || {
            looks += 1;
            looks == 3
        })
        .await;
        assert_eq!(looks, 3);
    }
}
