//! The app under test: this very test binary, started again by a Procfile as a web server.
//!
//! It is raw sockets and threads on purpose, so that it can misbehave in every way that the router
//! has a code for. SIGTERM ends it at once, as it ends most programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// While this is not in its folder, the app holds requests for `/hold`.
pub(crate) const GO: &str = "go";

/// The Procfile command that starts this binary as an app that behaves as `kind` says.
pub(crate) fn command(kind: &str) -> String {
    let binary = std::env::current_exe().expect("a test knows its own binary");
    format!("env APP={kind} {} --exact app::serves_when_asked_to --nocapture", binary.display())
}

/// No test of its own: with `APP` set, this process is a dyno.
#[test]
fn serves_when_asked_to() {
    let Ok(kind) = std::env::var("APP") else { return };
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    println!("listening");
    match kind.as_str() {
        "good" => serve(&listener),
        "deaf" => {
            // Ready once, and never again.
            listener.accept().unwrap();
            drop(listener);
            println!("deaf now");
            sleep_for_ever();
        }
        "full" => {
            listener.accept().unwrap();
            fill(&listener);
            println!("full now");
            sleep_for_ever();
        }
        other => panic!("no such app: {other}"),
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Connects to itself without accepting until the backlog takes no more. Keeps it so.
fn fill(listener: &TcpListener) {
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let held: Vec<_> = std::iter::from_fn(connect).take(10_000).collect();
    drop(std::thread::spawn(move || {
        let _held = held;
        sleep_for_ever();
    }));
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        // A broken conversation ends its thread, nothing else.
        drop(std::thread::spawn(move || answer(stream)));
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let dyno = std::env::var("DYNO").expect("the platform names its dynos");
    match path.split('?').next().unwrap_or("") {
        "/close" => Ok(()),
        "/garbage" => stream.write_all(b"this is no http\r\n\r\n"),
        "/half" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        "/stall" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
            sleep_for_ever()
        }
        "/sleep" => {
            let millis = path.split('=').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            writeln!(std::io::stdout(), "sleeping")?;
            std::thread::sleep(Duration::from_millis(millis));
            reply(&mut stream, &dyno)
        }
        "/hold" => {
            writeln!(std::io::stdout(), "holding")?;
            while !std::path::Path::new(GO).exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            reply(&mut stream, &dyno)
        }
        "/upgrade" => {
            let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: shout\r\n\r\nHELLO ";
            stream.write_all(agreed.as_bytes())?;
            shout(reader, &mut stream)
        }
        "/switch" => stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        "/length" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"),
        "/bare" => stream.write_all(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        "/status" => {
            let phrase = "a".repeat(8192);
            stream
                .write_all(format!("HTTP/1.1 200 {phrase}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        }
        "/set" => {
            let (name, length) = query(&path);
            let value = "v".repeat(length);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{name}: {value}\r\n\r\n");
            stream.write_all(head.as_bytes())
        }
        "/many" => {
            let headers = "x-one: of many\r\n".repeat(query(&path).1);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{headers}\r\n");
            stream.write_all(head.as_bytes())
        }
        "/headers" => reply(&mut stream, &head),
        "/echo" => echo(&head, reader, &mut stream),
        "/missing" => stream.write_all(b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n"),
        _ => reply(&mut stream, &dyno),
    }
}

/// `name` and `7` of `/path?name=7`.
fn query(path: &str) -> (&str, usize) {
    let pair = path.split_once('?').and_then(|(_, query)| query.split_once('='));
    let (name, number) = pair.expect("the test asks for something");
    (name, number.parse().expect("the test asks for a number"))
}

/// Sends every letter back in capitals, until there are no more.
fn shout(mut from: impl Read, to: &mut TcpStream) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return to.write_all(b" BYE");
        }
        piece.make_ascii_uppercase();
        to.write_all(&piece[..read])?;
    }
}

fn reply(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let length = text.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-App: yes\r\n\r\n");
    stream.write_all((head + text).as_bytes())
}

/// Sends every byte back as soon as it comes.
fn echo(head: &str, mut body: impl Read, stream: &mut TcpStream) -> std::io::Result<()> {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut left: usize = length.unwrap_or(0);
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes())?;
    let mut piece = [0; 4096];
    while left > 0 {
        let read = body.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&piece[..read])?;
        left = left.saturating_sub(read);
    }
    Ok(())
}
