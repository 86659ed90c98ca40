//! The Platform API over loopback, as Heroku's command line speaks to it.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use platform::control::Staging;
use platform::{Api, Platform};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trace::DynoState;

use crate::stage::{Stage, gone, request, soon};

const PROCFILE: &str = "web: exec sleep 1000\nworker: echo FOO=$FOO; exec sleep 1000\n";

struct Served {
    stage: Stage,
    platform: Arc<Platform>,
    api: Api,
    name: String,
}

impl Served {
    async fn new() -> Self {
        let stage = Stage::new(PROCFILE, "web=0,worker=0", |_| ()).await;
        std::fs::write(stage.dir.path().join("Procfile"), PROCFILE).expect("a Procfile");
        let platform = stage.platform(|_| ());
        platform.releases.start([].into()).await.expect("a release");
        stage.dynos.scale("worker=1").await.expect("it scales");
        stage.until("worker.1", DynoState::Up).await;
        let api = serve(&platform).await;
        let name = platform::app_name(stage.dir.path());
        Self { stage, platform, api, name }
    }

    /// The status and what is said.
    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let path = path.replace("/apps/A", &format!("/apps/{}", self.name));
        let head = format!("Authorization: Bearer {}\r\n", self.api.key());
        ask(&self.api, method, &path, &head, body).await
    }

    /// What is said, where all is well.
    async fn good(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, said) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {said}");
        said
    }

    async fn get(&self, path: &str) -> Value {
        self.good("GET", path, &Value::Null).await
    }

    async fn end(self) {
        self.api.shutdown().await;
        soon("the end", self.platform.shutdown()).await;
        gone(&self.stage.groups()).await;
    }
}

async fn serve(platform: &Arc<Platform>) -> Api {
    let info = json!({ "router": "127.0.0.1:5000" });
    let staging = Staging { platform: Arc::clone(platform), tally: None, maintenance: None, info };
    let api = Api::start(Arc::new(staging), ([127, 0, 0, 1], 0).into()).await;
    api.expect("a port and a folder")
}

async fn ask(api: &Api, method: &str, path: &str, head: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let exchange = async {
        let mut stream = TcpStream::connect(api.address()).await.expect("it listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    };
    let answer = soon(path, exchange).await;
    let (head, said) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let said = serde_json::from_str(said).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    (status.expect("a status"), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_without_the_key() {
    let served = Served::new().await;
    let key = served.api.key().to_owned();
    let almost = format!("Authorization: Bearer {}\r\n", &key[..key.len() - 1]);
    let basic = format!("Authorization: Basic {key}\r\n");
    for head in ["", "Authorization: Bearer \r\n", almost.as_str(), basic.as_str()] {
        for path in ["/account", "/apps", "/nowhere"] {
            let (status, said) = ask(&served.api, "GET", path, head, &Value::Null).await;
            let expected = json!({
                "id": "unauthorized", "message": "Invalid credentials provided."
            });
            assert_eq!((status, said), (401, expected), "{head}{path}");
        }
    }
    assert!(!format!("{:?}", served.api).contains(&key));
    let (status, said) = served.ask("GET", "/apps/A/addons", &Value::Null).await;
    assert_eq!((status, &said["id"]), (404, &json!("not_found")));
    assert!(said["message"].as_str().unwrap().contains("API endpoint was not found"), "{said}");
    let (status, said) = served.ask("GET", "/apps/other", &Value::Null).await;
    let expected = json!({
        "id": "not_found", "message": "Couldn't find that app.", "resource": "app"
    });
    assert_eq!((status, said), (404, expected));
    let (status, said) = served.ask("POST", "/apps/A/dynos", &json!(["no", "object"])).await;
    assert_eq!((status, &said["id"]), (400, &json!("bad_request")));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynos_are_listed_scaled_restarted_and_stopped() {
    let served = Served::new().await;
    let app = served.get("/apps/A").await;
    assert_eq!(app["name"], served.name.as_str());
    assert_eq!(served.get(&format!("/apps/{}", app["id"].as_str().unwrap())).await, app);
    assert_eq!(served.get("/apps").await[0]["id"], app["id"]);
    assert_eq!(served.get("/account").await["email"], "ann@example.com");

    let scale = json!({ "updates": [{ "type": "worker", "quantity": "+1" }] });
    let formation = served.good("PATCH", "/apps/A/formation", &scale).await;
    assert_eq!(formation[1]["type"], "worker");
    assert_eq!(formation[1]["quantity"], 2);
    assert_eq!(served.get("/apps/A/formation").await, formation);
    served.stage.until("worker.2", DynoState::Up).await;
    let dynos = served.get("/apps/A/dynos").await;
    assert_eq!((&dynos[1]["name"], &dynos[1]["state"]), (&json!("worker.2"), &json!("up")));
    assert_eq!(dynos[1]["command"], "echo FOO=$FOO; exec sleep 1000");
    assert_eq!(dynos[1]["release"]["version"], 2);
    assert_eq!(served.get("/apps/A/dynos/worker.2").await, dynos[1]);

    let before: Vec<_> = served.stage.dynos.ps().iter().map(|dyno| dyno.pid).collect();
    served.good("DELETE", "/apps/A/dynos/worker.2", &Value::Null).await;
    let other = |at: usize| {
        let before = before[at];
        move |dynos: &[platform::DynoInfo]| {
            dynos[at].pid != before && dynos[at].state == DynoState::Up
        }
    };
    soon("worker.2 anew", served.stage.dynos.wait_until(other(1))).await;
    assert_eq!(served.stage.dynos.ps()[0].pid, before[0]);
    served.good("DELETE", "/apps/A/formations/worker", &Value::Null).await;
    soon("worker.1 anew", served.stage.dynos.wait_until(other(0))).await;
    served.good("POST", "/apps/A/dynos/worker.1/actions/stop", &Value::Null).await;
    assert_eq!(served.get("/apps/A/dynos/worker.1").await["state"], "down");

    for path in ["/apps/A/dynos/worker.9", "/apps/A/formations/clock"] {
        let (status, said) = served.ask("DELETE", path, &Value::Null).await;
        assert_eq!((status, &said["resource"]), (404, &json!("process")));
    }
    let two = json!({ "updates": [{ "type": "worker=1,web", "quantity": 1 }] });
    let (status, said) = served.ask("PATCH", "/apps/A/formation", &two).await;
    assert_eq!((status, &said["id"]), (422, &json!("invalid_params")), "{said}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_vars_and_releases_change() {
    let served = Served::new().await;
    let changes = json!({ "FOO": "bar", "GONE": null });
    let config = served.good("PATCH", "/apps/A/config-vars", &changes).await;
    assert_eq!(config, json!({ "DATABASE_URL": "postgres://shop", "FOO": "bar" }));
    assert_eq!(served.get("/apps/A/config-vars").await, config);
    served.stage.line("app[worker.1]: FOO=bar").await;

    let all = served.get("/apps/A/releases").await;
    let versions: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["version"]).collect();
    assert_eq!(versions, [1, 2, 3]);
    let key = served.api.key();
    let head = format!("Authorization: Bearer {key}\r\nRange: version ..; order=desc,max=1\r\n");
    let path = format!("/apps/{}/releases", served.name);
    let (_, newest) = ask(&served.api, "GET", &path, &head, &Value::Null).await;
    assert_eq!(newest, json!([all[2]]));
    assert_eq!(newest[0]["description"], "Set FOO and remove GONE config vars");
    assert_eq!(newest[0]["current"], true);
    assert_eq!(newest[0]["user"]["email"], "ann@example.com");

    let back = json!({ "release": all[1]["id"] });
    let made = served.good("POST", "/apps/A/releases", &back).await;
    assert_eq!((&made["version"], &made["description"]), (&json!(4), &json!("Rollback to v2")));
    assert_eq!(served.get("/apps/A/releases/v3/config-vars").await["FOO"], "bar");
    assert_eq!(served.get("/apps/A/releases/4/config-vars").await.get("FOO"), None);
    assert_eq!(served.get("/apps/A/releases/4").await["current"], true);

    let (status, said) = served.ask("GET", "/apps/A/releases/9", &Value::Null).await;
    assert_eq!((status, &said["resource"]), (404, &json!("release")));
    let wrong = json!({ "DATABASE_URL": "x" });
    let (status, said) = served.ask("PATCH", "/apps/A/config-vars", &wrong).await;
    let text = "Cannot overwrite attachment values DATABASE_URL.";
    assert_eq!((status, said), (422, json!({ "id": "invalid_params", "message": text })));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_sessions_give_history_and_new_lines() {
    let served = Served::new().await;
    served.stage.line("app[worker.1]: FOO=").await;
    let order = json!({ "lines": 2, "dyno": "worker.1", "source": null, "tail": false });
    let session = served.good("POST", "/apps/A/log-sessions", &order).await;
    let url = session["logplex_url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", served.api.address())).unwrap();
    let answer =
        request(served.api.address(), &format!("GET {path} HTTP/1.1\r\nHost: x\r\n")).await;
    assert!(answer.to_lowercase().contains("content-type: text/event-stream"), "{answer}");
    let events: Vec<&str> = answer.lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(events.len(), 2, "{answer}");
    assert!(events.iter().all(|event| event.contains("[worker.1]: ")), "{answer}");

    let order = json!({ "lines": 0, "tail": true, "source": "app" });
    let session = served.good("POST", "/apps/A/log-sessions", &order).await;
    let path = session["logplex_url"].as_str().unwrap().split_once("/log-").unwrap().1.to_owned();
    let mut stream = TcpStream::connect(served.api.address()).await.unwrap();
    let head = format!("GET /log-{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut until = async |part: &str| {
        let mut piece = [0; 1024];
        while !seen.contains(part) {
            let read = soon(part, stream.read(&mut piece)).await.unwrap();
            assert_ne!(read, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    };
    until("200 OK").await;
    served.good("PATCH", "/apps/A/config-vars", &json!({ "FOO": "tailed" })).await;
    until("app[worker.1]: FOO=tailed").await;

    let wrong = request(served.api.address(), "GET /log-sessions/0123 HTTP/1.1\r\nHost: x\r\n");
    assert!(wrong.await.starts_with("HTTP/1.1 404"));
    served.end().await;
}

/// A client of the rendezvous that trusts what the API says is to be trusted.
async fn meet(api: &Api, url: &str) -> TlsStream<TcpStream> {
    let (address, secret) =
        url.strip_prefix("rendezvous://").and_then(|url| url.split_once('/')).expect("a URL");
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(api.certificate()).expect("a certificate");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.expect("it is who it should be");
    stream.write_all(format!("{secret}\r\n").as_bytes()).await.expect("it reads");
    stream
}

async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut said = Vec::new();
    soon("the end", stream.read_to_end(&mut said)).await.expect("a proper end");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_meets_its_client_at_the_rendezvous() {
    let served = Served::new().await;
    let order = json!({
        "command": "stty size; read line; echo got $line $X; exit 5", "attach": true,
        "env": { "COLUMNS": 90, "LINES": 33, "X": "y" }
    });
    let dyno = served.good("POST", "/apps/A/dynos", &order).await;
    let name = dyno["name"].as_str().unwrap().to_owned();
    assert_eq!((&dyno["type"], &dyno["state"]), (&json!("run"), &json!("starting")));
    served.stage.line(&format!("heroku[{name}]: Awaiting client")).await;
    let url = dyno["attach_url"].as_str().unwrap();

    // A wrong secret is answered with nothing.
    let last = if url.ends_with('0') { '1' } else { '0' };
    let mut stranger = meet(&served.api, &format!("{}{last}", &url[..url.len() - 1])).await;
    let mut said = Vec::new();
    let _cut = soon("the door", stranger.read_to_end(&mut said)).await;
    assert_eq!(said, b"");
    let mut client = meet(&served.api, url).await;
    // Only then is it typed: a terminal's echo may come in the middle of an output's line.
    let size = b"rendezvous\r\n33 90\r\n";
    let mut said = vec![0; size.len()];
    soon("the size", client.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, size);
    client.write_all(b"words\n").await.unwrap();
    assert_eq!(rest(&mut client).await, "words\r\ngot words y\r\n");
    served.stage.line(&format!("heroku[{name}]: Process exited with status 5")).await;

    // Without a terminal, the client's last byte says that there is no more.
    let order = json!({ "command": "cat; exit 0", "attach": true, "force_no_tty": true });
    let dyno = served.good("POST", "/apps/A/dynos", &order).await;
    let mut client = meet(&served.api, dyno["attach_url"].as_str().unwrap()).await;
    client.write_all(b"piped\n\x04").await.unwrap();
    assert_eq!(rest(&mut client).await, "rendezvous\r\npiped\n");

    // A client that goes away hangs up.
    let order = json!({ "command": "exec sleep 1000", "attach": true });
    let dyno = served.good("POST", "/apps/A/dynos", &order).await;
    let name = dyno["name"].as_str().unwrap();
    let client = meet(&served.api, dyno["attach_url"].as_str().unwrap()).await;
    served.stage.line(&format!("heroku[{name}]: State changed from starting to up")).await;
    drop(client);
    served.stage.line(&format!("heroku[{name}]: Process exited with status 129")).await;

    let order = json!({ "command": "echo detached", "attach": false });
    let dyno = served.good("POST", "/apps/A/dynos", &order).await;
    assert_eq!(dyno["attach_url"], Value::Null);
    let name = dyno["name"].as_str().unwrap();
    served.stage.line(&format!("app[{name}]: detached")).await;

    let large = json!({ "command": "true", "size": "Performance-L" });
    let (status, said) = served.ask("POST", "/apps/A/dynos", &large).await;
    let message = "One-off dynos are Standard-1X here.";
    assert_eq!((status, &said["message"]), (422, &json!(message)));

    let order = json!({ "command": "exec sleep 1000", "attach": false });
    let dyno = served.good("POST", "/apps/A/dynos", &order).await;
    let name = dyno["name"].as_str().unwrap();
    served.stage.line(&format!("heroku[{name}]: State changed from starting to up")).await;
    served.good("DELETE", &format!("/apps/A/dynos/{name}"), &Value::Null).await;
    served.stage.line(&format!("heroku[{name}]: Process exited with status 143")).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_and_port_stay_and_are_for_the_owner_only() {
    let served = Served::new().await;
    let (key, address) = (served.api.key().to_owned(), served.api.address());
    let exports = served.api.exports();
    assert!(exports.contains(&format!("HEROKU_HOST=http://{address} ")), "{exports}");
    assert!(exports.contains(&format!("HEROKU_API_KEY={key} ")), "{exports}");
    let file = served.stage.dir.path().join(".surgetank/api.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!served.stage.lines("api").join("\n").contains(&key));
    let Served { stage, platform, mut api, .. } = served;
    // Whatever else runs here may take the port while nobody listens, but not time and again.
    for attempt in 1.. {
        let last = api.address();
        api.shutdown().await;
        api = serve(&platform).await;
        assert_eq!(api.key(), key);
        if api.address() == last {
            break;
        }
        assert!(attempt < 5, "{last} {}", api.address());
    }
    api.shutdown().await;
    platform.shutdown().await;
    gone(&stage.groups()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_are_added_listed_and_removed() {
    let served = Served::new().await;
    let url = "syslog://127.0.0.1:9";
    let drain = served.good("POST", "/apps/A/log-drains", &json!({ "url": url })).await;
    assert_eq!(drain["url"], url);
    assert!(drain["token"].as_str().unwrap().starts_with("d."));
    assert_eq!(served.get("/apps/A/log-drains").await, json!([drain]));
    let (status, said) = served.ask("POST", "/apps/A/log-drains", &json!({ "url": url })).await;
    assert_eq!((status, &said["message"]), (422, &json!("Url has already been taken")));
    let removed = "/apps/A/log-drains/syslog%3A%2F%2F127.0.0.1%3A9";
    assert_eq!(served.good("DELETE", removed, &Value::Null).await, drain);
    assert_eq!(served.get("/apps/A/log-drains").await, json!([]));
    let (status, said) = served.ask("DELETE", removed, &Value::Null).await;
    assert_eq!((status, &said["resource"]), (404, &json!("log drain")));
    served.end().await;
}
