//! From a request to a connection with a dyno that takes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::code::Code;
use super::exchange::Exchange;
use crate::dyno::{Lease, Pick};

/// Most dynos that are tried for one request.
const ATTEMPTS_MAX: usize = 10;

/// A claim on a dyno, and a connection to it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) lease: Lease,
    pub(super) stream: TcpStream,
}

/// Finds a dyno that accepts: one after the other while they refuse, and with patience while none
/// is ready or has room.
pub(super) async fn route(exchange: &mut Exchange) -> Result<Route, Code> {
    let shared = Arc::clone(exchange.shared());
    let deadline = Instant::now() + shared.timing.queue;
    let mut changes = shared.fleet.changes();
    let mut attempts = shared.fleet.web_dynos().clamp(1, ATTEMPTS_MAX);
    let mut failed = None;
    let mut queued = None;
    loop {
        changes.mark_unchanged();
        // Before the look at the dynos, so that none that gets room meanwhile is missed.
        let room = shared.fleet.room();
        tokio::pin!(room);
        room.as_mut().enable();
        let (again, too_late) = match pick(&shared, queued.is_some()) {
            Pick::Leased(lease) => {
                if queued.take().is_some() {
                    // There may be room for more than one.
                    shared.fleet.wake_next();
                }
                match attempt(&shared, exchange, lease).await {
                    Ok(route) => return Ok(route),
                    Err(code) => {
                        attempts -= 1;
                        if attempts == 0 {
                            return Err(code);
                        }
                        failed = Some(code);
                        continue;
                    }
                }
            }
            Pick::NoDynos => return Err(Code::H14),
            Pick::AllCrashed => return Err(Code::H10),
            Pick::Booting => (deadline, Code::H20),
            // Having tried all that there are, this request says what it met.
            Pick::Resting => match failed {
                Some(code) => return Err(code),
                None => (shared.quarantine.next_end().unwrap_or(deadline), Code::H99),
            },
            Pick::Full { up } => {
                if queued.is_none() {
                    queued = Some(Queued::enter(&shared, up).ok_or(Code::H11)?);
                }
                (deadline, Code::H11)
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = room, if queued.is_some() => {}
            () = sleep_until(again.min(deadline)) => {}
        }
        if Instant::now() >= deadline {
            return Err(too_late);
        }
    }
}

/// A place in the backlog, given back when it is dropped.
struct Queued<'a>(&'a AtomicU32);

impl<'a> Queued<'a> {
    /// Nothing if the backlog is too deep for so many dynos.
    fn enter(shared: &'a Shared, up: usize) -> Option<Self> {
        let up = u32::try_from(up).unwrap_or(u32::MAX);
        let most = shared.limits.backlog_per_dyno.saturating_mul(up);
        let queued = Self(&shared.backlog);
        (shared.backlog.fetch_add(1, Ordering::Relaxed) < most).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whoever comes while others queue is behind them.
fn pick(shared: &Shared, is_queued: bool) -> Pick {
    let others_queue = !is_queued && shared.backlog.load(Ordering::Relaxed) > 0;
    let most = if others_queue { 0 } else { shared.limits.active_per_dyno };
    let choose = |among: usize| {
        let among = u64::try_from(among).unwrap_or(1).max(1);
        usize::try_from(shared.random() % among).unwrap_or(0)
    };
    shared.fleet.pick(most, choose, |name, port| shared.quarantine.holds(name, port))
}

/// Tries one dyno; one that does not accept goes into quarantine.
async fn attempt(shared: &Shared, exchange: &mut Exchange, lease: Lease) -> Result<Route, Code> {
    let began = shared.tracer.now();
    let connected = timeout(shared.timing.connect, lease.connect()).await;
    exchange.tried(lease.name.clone(), shared.tracer.now().since(began));
    let code = match connected {
        Ok(Ok(stream)) => {
            exchange.accepted();
            // Latency before throughput; the connection works without it too.
            let _unset = stream.set_nodelay(true);
            return Ok(Route { lease, stream });
        }
        Err(_) => Code::H19,
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Code::H19,
        Ok(Err(_)) => Code::H21,
    };
    shared.quarantine.put(lease.name.clone(), lease.port);
    Err(code)
}
