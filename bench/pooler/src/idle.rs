//! Clients that are connected and do nothing, and what they cost a pooler.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail};
use bench_kit::poolers::Pooler;
use socket2::{Domain, Socket, Type};

/// `ReadyForQuery`, idle: with it a login and a query end.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Protocol 3.0.
const VERSION: u32 = 196_608;

/// Connections that are open; dropping them closes them.
pub(crate) struct Idle(#[expect(dead_code, reason = "held, not used")] Vec<TcpStream>);

impl Idle {
    /// Connects this many clients, each of which asks one thing, so that all have been served.
    pub(crate) fn connect(pooler: &Pooler, count: u32) -> anyhow::Result<Self> {
        let clients = (0..count).map(|index| client(pooler, index)).collect::<Result<_, _>>();
        Ok(Self(clients.with_context(|| format!("{count} idle clients of {}", pooler.name))?))
    }
}

fn client(pooler: &Pooler, index: u32) -> anyhow::Result<TcpStream> {
    let mut stream = connect(pooler.address, index)?;
    let parameters =
        format!("user\0{}\0database\0postgres\0application_name\0pgbench\0\0", pooler.user);
    let length = u32::try_from(8 + parameters.len())?;
    let packet =
        [&length.to_be_bytes(), &VERSION.to_be_bytes()[..], parameters.as_bytes()].concat();
    stream.write_all(&packet)?;
    until_ready(&mut stream)?;
    stream.write_all(b"Q\0\0\0\x0dSELECT 1\0")?;
    until_ready(&mut stream)?;
    Ok(stream)
}

/// From another loopback address each few thousand clients: ports of one address run out.
fn connect(address: SocketAddr, index: u32) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let own = SocketAddr::from(([127, 0, u8::try_from(1 + index / 5_000)?, 1], 0));
    socket.bind(&own.into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn until_ready(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(READY) {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            bail!("the pooler hung up: {:?}", String::from_utf8_lossy(&answer));
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}

/// Memory that belongs to a process (its proportional set size), in bytes; `/proc/PID/smaps_rollup`
/// (proc(5)).
fn memory(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context(path)?;
    let kilobytes = line.split_whitespace().next().context("an empty Pss line")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}

/// Bytes of memory that each of so many idle clients costs.
pub(crate) fn memory_per_client(pooler: &Pooler, count: u32) -> anyhow::Result<f64> {
    // What the first clients make it allocate is not theirs alone.
    let _first = Idle::connect(pooler, 100)?;
    let before = memory(pooler.pid)?;
    let _idle = Idle::connect(pooler, count)?;
    Ok((memory(pooler.pid)? - before) / f64::from(count))
}
