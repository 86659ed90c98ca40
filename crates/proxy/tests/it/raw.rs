//! A client that says exactly what a test wants it to say.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::backend::{self, Authentication, BackendKey, Report, tag};
use wire::frontend::{self, SaslInitial};
use wire::startup;

use crate::harness::{Fixture, SOON};

/// A connection, logged in or not.
pub(crate) struct Raw {
    stream: TcpStream,
    /// What is to be sent next.
    pub(crate) out: Vec<u8>,
    /// `pid` and secret that the server gave.
    pub(crate) key: (i32, Vec<u8>),
    /// What authentication has asked for.
    pub(crate) asked: Vec<String>,
}

/// One message of the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: char,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.tag, String::from_utf8_lossy(&self.body))
    }
}

impl Message {
    pub(crate) fn code(&self) -> String {
        String::from_utf8_lossy(Report::read(&self.body).code).into_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(Report::read(&self.body).message).into_owned()
    }
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the proxy listens");
        Self { stream, out: Vec::new(), key: (0, Vec::new()), asked: Vec::new() }
    }

    /// Connects and logs in as the fixture's owner.
    pub(crate) async fn login(fixture: &Fixture) -> Self {
        Self::login_at(fixture, fixture.addr).await
    }

    /// The same at another address. The parameters are those of tokio-postgres: so that both kinds
    /// of client share server connections.
    pub(crate) async fn login_at(fixture: &Fixture, addr: SocketAddr) -> Self {
        let mut raw = Self::connect(addr).await;
        let user = fixture.database.owner.user.as_bytes();
        let database = fixture.database.name.as_bytes();
        raw.startup(0, &[(b"client_encoding", b"UTF8"), (b"user", user), (b"database", database)]);
        raw.authenticate(&fixture.database.owner.password).await;
        raw
    }

    pub(crate) fn startup(&mut self, minor: u16, parameters: &[(&[u8], &[u8])]) {
        startup::put_session(&mut self.out, minor, parameters.iter().copied());
    }

    /// Answers what authentication asks, up to `ReadyForQuery`; the messages after
    /// `AuthenticationOk`.
    pub(crate) async fn authenticate(&mut self, password: &str) -> Vec<Message> {
        self.try_authenticate(password).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The same, or the error with which the login ends.
    pub(crate) async fn try_authenticate(
        &mut self,
        password: &str,
    ) -> Result<Vec<Message>, Message> {
        use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut heard = Vec::new();
        loop {
            self.send().await;
            let message = self.receive().await;
            match message.tag {
                'R' => match Authentication::read(&message.body).expect("authentication") {
                    Authentication::Sasl(mechanisms) => {
                        self.asked.push(String::from_utf8_lossy(mechanisms).into_owned());
                        SaslInitial { mechanism: wire::scram::MECHANISM, data: scram.message() }
                            .put(&mut self.out)
                    }
                    Authentication::CleartextPassword => {
                        frontend::put_password(&mut self.out, password.as_bytes());
                    }
                    Authentication::SaslContinue(data) => {
                        self.asked.push("SASL goes on".to_owned());
                        scram.update(data).expect("a challenge");
                        frontend::put_sasl_response(&mut self.out, scram.message());
                    }
                    Authentication::SaslFinal(data) => scram.finish(data).expect("the server"),
                    Authentication::Ok => {}
                    other => panic!("{other:?}"),
                },
                'K' => {
                    let key = BackendKey::read(&message.body).expect("a key");
                    self.key = (key.pid, key.key.to_vec());
                    heard.push(message);
                }
                'Z' => return Ok(heard),
                'E' => return Err(message),
                _ => heard.push(message),
            }
        }
    }

    /// Sends what was put.
    pub(crate) async fn send(&mut self) {
        self.stream.write_all(&self.out).await.expect("the proxy takes it");
        self.out.clear();
    }

    /// Its end will be a reset, not a FIN.
    pub(crate) fn reset_on_drop(&self) {
        self.stream.set_zero_linger().expect("the socket is open");
    }

    /// Sends what was put, and a FIN: nothing more follows, but answers are read.
    pub(crate) async fn half_close(&mut self) {
        self.send().await;
        self.stream.shutdown().await.expect("the socket is open");
    }

    /// Writes what the other side takes at once, if anything.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> u64 {
        match self.stream.try_write(bytes) {
            Ok(count) => count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message; the test fails if none comes.
    pub(crate) async fn receive(&mut self) -> Message {
        self.try_receive().await.expect("the proxy does not hang up")
    }

    /// The next message, or `None` if the proxy hung up.
    pub(crate) async fn try_receive(&mut self) -> Option<Message> {
        let read = async {
            let tag = self.stream.read_u8().await.ok()?;
            let length = self.stream.read_u32().await.ok()?;
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Message { tag: char::from(tag), body })
        };
        timeout(SOON, read).await.expect("an answer in time")
    }

    /// One byte, as the answer to a request for encryption is.
    pub(crate) async fn receive_byte(&mut self) -> u8 {
        self.stream.read_u8().await.expect("one byte")
    }

    /// All messages up to `ReadyForQuery`.
    pub(crate) async fn until_ready(&mut self) -> Vec<Message> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.receive().await);
            if heard.last().is_some_and(|message| message.tag == 'Z') {
                return heard;
            }
        }
    }

    /// Sends what was put and gives the tags of the answer up to `ReadyForQuery`, notices left out.
    pub(crate) async fn tags(&mut self) -> String {
        self.send().await;
        let heard = self.until_ready().await;
        heard.iter().map(|message| message.tag).filter(|tag| !"SN".contains(*tag)).collect()
    }

    pub(crate) fn query(&mut self, text: &str) -> &mut Self {
        frontend::put_query(&mut self.out, text.as_bytes());
        self
    }

    pub(crate) fn parse(&mut self, name: &str, query: &str) -> &mut Self {
        let (name, query) = (name.as_bytes(), query.as_bytes());
        frontend::Parse { name, query, types: &[0, 0] }.put(&mut self.out);
        self
    }

    /// A `Bind` of the unnamed portal, without parameters, results as text.
    pub(crate) fn bind(&mut self, statement: &str) -> &mut Self {
        frontend::put_bind(&mut self.out, statement.as_bytes());
        self
    }

    pub(crate) fn describe(&mut self, statement: &str) -> &mut Self {
        frontend::Target::Statement(statement.as_bytes()).put_describe(&mut self.out);
        self
    }

    pub(crate) fn describe_portal(&mut self) -> &mut Self {
        frontend::Target::Portal(b"").put_describe(&mut self.out);
        self
    }

    pub(crate) fn close(&mut self, statement: &str) -> &mut Self {
        frontend::Target::Statement(statement.as_bytes()).put_close(&mut self.out);
        self
    }

    pub(crate) fn execute(&mut self) -> &mut Self {
        frontend::Execute { portal: b"", max_rows: 0 }.put(&mut self.out);
        self
    }

    pub(crate) fn bare(&mut self, tag: u8) -> &mut Self {
        frontend::put_bare(&mut self.out, tag);
        self
    }

    pub(crate) fn sync(&mut self) -> &mut Self {
        self.bare(frontend::tag::SYNC)
    }

    pub(crate) fn copy_data(&mut self, data: &[u8]) -> &mut Self {
        wire::frame::put(&mut self.out, frontend::tag::COPY_DATA, |out| {
            out.extend_from_slice(data);
        });
        self
    }

    /// Runs a query and gives its first column of its first row.
    pub(crate) async fn value(&mut self, query: &str) -> String {
        self.query(query).send().await;
        first_value(&self.until_ready().await)
    }
}

/// The first column of the first row among messages.
pub(crate) fn first_value(messages: &[Message]) -> String {
    let row = messages
        .iter()
        .find(|message| message.tag == char::from(tag::DATA_ROW))
        .unwrap_or_else(|| panic!("no row in {messages:?}"));
    let mut cursor = wire::cursor::Cursor::new(&row.body);
    let _columns = cursor.i16();
    let length = cursor.i32().and_then(|length| usize::try_from(length).ok()).expect("a value");
    String::from_utf8(cursor.bytes(length).expect("its bytes").to_vec()).expect("text")
}

#[tokio::test]
async fn encryption_is_declined_and_an_unknown_minor_version_negotiated() {
    let fixture = Fixture::start(proxy::Mode::Regulate).await;
    let mut raw = Raw::connect(fixture.addr).await;
    startup::put_gss_enc_request(&mut raw.out);
    raw.send().await;
    assert_eq!(raw.receive_byte().await, b'N');
    startup::put_ssl_request(&mut raw.out);
    raw.send().await;
    assert_eq!(raw.receive_byte().await, b'N');

    let user = fixture.database.owner.user.clone();
    let database = fixture.database.name.clone();
    raw.startup(
        9999,
        &[
            (b"user", user.as_bytes()),
            (b"database", database.as_bytes()),
            (b"_pq_.something", b"on"),
        ],
    );
    let heard = raw.authenticate(&fixture.database.owner.password).await;
    let negotiated = heard.iter().find(|message| message.tag == 'v').expect("a negotiation");
    assert_eq!(negotiated.body, b"\0\x03\0\x02\0\0\0\x01_pq_.something\0");
    assert!(heard.iter().any(|message| message.body.starts_with(b"server_version\0")));
    assert_eq!(raw.value("select 5").await, "5");
    assert_eq!(backend::ready_status(b"I"), Ok(b'I'));
    fixture.end().await;
}

#[tokio::test]
async fn what_is_not_postgresql_is_told_so() {
    for mode in crate::harness::MODES {
        let fixture = Fixture::start(mode).await;
        let mut raw = Raw::connect(fixture.addr).await;
        raw.out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        raw.send().await;
        let answer = raw.receive().await;
        assert_eq!((answer.tag, answer.code().as_str()), ('E', "08P01"));
        assert_eq!(raw.try_receive().await, None);

        let mut raw = Raw::login(&fixture).await;
        raw.out.extend_from_slice(b"Q\0\0\0\x01");
        raw.send().await;
        let answer = raw.receive().await;
        assert_eq!((answer.tag, answer.code().as_str()), ('E', "08P01"));
        fixture.end().await;
    }
}
