//! Where the client of a one-off dyno meets it: TLS, a secret as the first line, then bytes both
//! ways, as Heroku's rendezvous does it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::error::{Error, Result};
use crate::one_off::{Awaiting, Input, Line, Output};

/// A client has so long to say the secret.
const GREETING_LIMIT: Duration = Duration::from_secs(20);
/// Longer is no secret of ours.
const SECRET_BYTES_MAX: u64 = 256;
/// Pieces of input or output on their way.
const PIECES_AHEAD: usize = 64;
/// What a client without a terminal sends at the end of its input.
const END_OF_INPUT: u8 = 4;

/// Those who are expected, by their secret.
type Expected = Arc<Mutex<BTreeMap<String, Guest>>>;

/// One who is expected.
struct Guest {
    awaiting: Awaiting,
    terminal: bool,
}

/// The meeting place.
pub(super) struct Rendezvous {
    address: SocketAddr,
    expected: Expected,
}

impl Rendezvous {
    /// Opens it; also returns the certificate that clients have to trust, in PEM.
    pub(super) async fn start(
        address: SocketAddr,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> Result<(Self, String)> {
        let wrong = |source| Error::ApiBind { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let (config, certificate) = tls().map_err(wrong)?;
        let expected = Expected::default();
        let place =
            Place { config: TlsAcceptor::from(Arc::new(config)), expected: Arc::clone(&expected) };
        let (inner, closing) = (tasks.clone(), closing.clone());
        tasks.spawn(let_in(listener, place, inner, closing));
        Ok((Self { address, expected }, certificate))
    }

    /// Expects the client of a one-off dyno; returns the URL at which it attaches.
    pub(super) fn expect(&self, awaiting: Awaiting, terminal: bool) -> Result<String> {
        let secret = crate::random::hex(20).map_err(Error::Random)?;
        let url = format!("rendezvous://{}/{secret}", self.address);
        let mut expected = self.expected.lock();
        // Whose dyno has given up waiting is not expected any more.
        expected.retain(|_, guest| !guest.awaiting.attach.is_closed());
        expected.insert(secret, Guest { awaiting, terminal });
        Ok(url)
    }
}

/// A certificate for this run, with its key, which is never written.
fn tls() -> io::Result<(ServerConfig, String)> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .map_err(io::Error::other)?;
    Ok((config, made.cert.pem()))
}

#[derive(Clone)]
struct Place {
    config: TlsAcceptor,
    expected: Expected,
}

async fn let_in(
    listener: TcpListener,
    place: Place,
    tasks: TaskTracker,
    closing: CancellationToken,
) {
    let listen = || listener.accept();
    while let Some((stream, _)) = accept::next("the rendezvous", &listen, &closing).await {
        let (place, closing) = (place.clone(), closing.clone());
        tasks.spawn(async move {
            closing.run_until_cancelled(meet(stream, place)).await;
        });
    }
}

async fn meet(stream: TcpStream, place: Place) {
    // What is typed should be seen at once; without the option it is all the same.
    let _unset = stream.set_nodelay(true);
    let greeting = async {
        let stream = place.config.accept(stream).await.ok()?;
        let mut stream = BufReader::new(stream);
        let mut secret = String::new();
        (&mut stream).take(SECRET_BYTES_MAX).read_line(&mut secret).await.ok()?;
        let guest = place.expected.lock().remove(secret.trim_end())?;
        stream.write_all(b"rendezvous\r\n").await.ok()?;
        stream.flush().await.ok()?;
        Some((stream, guest))
    };
    // Who does not know a secret is told nothing.
    let Ok(Some((stream, guest))) = timeout(GREETING_LIMIT, greeting).await else { return };
    let (to_process, input) = mpsc::channel(PIECES_AHEAD);
    let (output, from_process) = mpsc::channel(PIECES_AHEAD);
    if guest.awaiting.attach.send(Line { input, output }).is_ok() {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            () = listen(reader, &to_process, guest.terminal) => {}
            () = speak(writer, from_process) => {}
        }
    }
}

/// Passes on what the client types; returns when it has gone.
async fn listen(mut reader: impl AsyncRead + Unpin, to: &mpsc::Sender<Input>, terminal: bool) {
    let mut piece = BytesMut::with_capacity(16 * 1024);
    loop {
        match reader.read_buf(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        for input in inputs(piece.split().freeze(), terminal) {
            if to.send(input).await.is_err() {
                // The process has ended; what it still says is told by the other half.
                return std::future::pending().await;
            }
        }
    }
}

/// A terminal makes an end of input of the last byte by itself; where there is none, we do.
fn inputs(mut bytes: Bytes, terminal: bool) -> Vec<Input> {
    if terminal || bytes.last() != Some(&END_OF_INPUT) {
        return vec![Input::Data(bytes)];
    }
    bytes.truncate(bytes.len() - 1);
    let data = (!bytes.is_empty()).then_some(Input::Data(bytes));
    data.into_iter().chain([Input::End]).collect()
}

/// Shows what the process writes until it ends.
async fn speak(mut writer: impl AsyncWrite + Unpin, mut from: mpsc::Receiver<Output>) {
    while let Some(output) = from.recv().await {
        let written = match output {
            Output::Out(bytes) | Output::Err(bytes) => writer.write_all(&bytes).await,
            Output::Exited(_) => break,
        };
        if written.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    // The client has gone, or sees the end now.
    let _gone = writer.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_input_is_seen_where_there_is_no_terminal() {
        let data = |text: &'static str| Input::Data(Bytes::from_static(text.as_bytes()));
        let of =
            |text: &'static str, terminal| inputs(Bytes::from_static(text.as_bytes()), terminal);
        assert_eq!(of("a\u{4}", false), [data("a"), Input::End]);
        assert_eq!(of("\u{4}", false), [Input::End]);
        assert_eq!(of("a\u{4}b", false), [data("a\u{4}b")]);
        assert_eq!(of("a\u{4}", true), [data("a\u{4}")]);
    }
}
