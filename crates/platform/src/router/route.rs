//! From a request to a connection with a dyno that takes it.

use std::io;
use std::sync::Arc;

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
/// is ready.
pub(super) async fn route(exchange: &mut Exchange) -> Result<Route, Code> {
    let shared = Arc::clone(exchange.shared());
    let deadline = Instant::now() + shared.timing.queue;
    let mut changes = shared.fleet.changes();
    let mut attempts = shared.fleet.web_dynos().clamp(1, ATTEMPTS_MAX);
    let mut failed = None;
    loop {
        changes.mark_unchanged();
        let (again, too_late) = match pick(&shared) {
            Pick::Leased(lease) => match attempt(&shared, exchange, lease).await {
                Ok(route) => return Ok(route),
                Err(code) => {
                    attempts -= 1;
                    if attempts == 0 {
                        return Err(code);
                    }
                    failed = Some(code);
                    continue;
                }
            },
            Pick::NoDynos => return Err(Code::H14),
            Pick::AllCrashed => return Err(Code::H10),
            Pick::Booting => (deadline, Code::H20),
            // Having tried all that there are, this request says what it met.
            Pick::Resting => match failed {
                Some(code) => return Err(code),
                None => (shared.quarantine.next_end().unwrap_or(deadline), Code::H99),
            },
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep_until(again.min(deadline)) => {}
        }
        if Instant::now() >= deadline {
            return Err(too_late);
        }
    }
}

fn pick(shared: &Shared) -> Pick {
    let choose = |among: usize| {
        let among = u64::try_from(among).unwrap_or(1).max(1);
        usize::try_from(shared.random() % among).unwrap_or(0)
    };
    shared.fleet.pick(choose, |name, port| shared.quarantine.holds(name, port))
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
