//! `surgetank http-status HOST:PORT/PATH` prints what `curl -s -o /dev/null -w '%{http_code}'`
//! does, for dynos of a machine that has no curl.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

use crate::exit::Exit;
use crate::out;

/// Longer than the router's own time-out.
const PATIENCE: Duration = Duration::from_secs(35);

/// Print the status of a GET request
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `localhost:5000/checkout`
    url: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let url = args.url.strip_prefix("http://").unwrap_or(&args.url);
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let mut stream = TcpStream::connect(host).with_context(|| host.to_owned())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(|| host.to_owned())?;
    // RFC 9112 §4: HTTP-version SP status-code SP reason
    let status = line.split(' ').nth(1).with_context(|| format!("no status line: {line:?}"))?;
    out::data(status)
}
