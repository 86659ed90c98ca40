//! One-off dynos: with a client, without one, and with one that goes away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use platform::control::{Attached, Client, Server, Staging, candidates};
use platform::one_off::{Input, Output, WindowSize};
use platform::{LogFilter, OneOff, OneOffTiming, Platform};

use crate::stage::{Stage, gone, runs, soon};

/// An app without dynos, served.
struct Served {
    stage: Stage,
    platform: Arc<Platform>,
    server: Server,
    client: Client,
}

impl Served {
    async fn new(change: impl FnOnce(&mut OneOffTiming)) -> Self {
        let stage = Stage::new("worker: exec sleep 1000", "worker=0", |options| {
            options.config_vars = vec![("FOO".to_owned(), "bar".to_owned())];
        })
        .await;
        let platform = stage.platform(change);
        let info = serde_json::Value::Null;
        let staging =
            Staging { platform: Arc::clone(&platform), tally: None, maintenance: None, info };
        let paths = candidates(stage.dir.path(), &stage.dir.path().join("run"));
        let server = Server::start(&paths, Arc::new(staging)).await;
        let server = server.expect("the folder can be written to");
        let client = Client::find(&paths).await.expect("the server listens");
        Self { stage, platform, server, client }
    }

    async fn attach(&self, command: &str, terminal: Option<WindowSize>) -> Attached {
        let order = OneOff { command: command.to_owned(), terminal, ..OneOff::default() };
        self.client.run_attached(&order).await.expect("it starts")
    }

    async fn end(self) {
        self.server.shutdown().await;
        soon("the end", self.platform.shutdown()).await;
        gone(&self.stage.groups()).await;
        assert_eq!(self.stage.dynos.ps(), []);
    }
}

fn size(columns: u16, lines: u16) -> WindowSize {
    WindowSize { columns, lines }
}

/// Everything that is written until the end, and the status.
async fn to_the_end(attached: &mut Attached) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = soon("the status", async {
        loop {
            match attached.screen.next().await.expect("frames").expect("not gone") {
                Output::Out(bytes) => out.extend_from_slice(&bytes),
                Output::Err(bytes) => err.extend_from_slice(&bytes),
                Output::Exited(status) => return status,
            }
        }
    })
    .await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (text(out), text(err), status)
}

/// Reads until the screen has shown this.
async fn until(attached: &mut Attached, part: &str) -> String {
    let mut shown = String::new();
    soon(part, async {
        while !shown.contains(part) {
            match attached.screen.next().await.expect("frames") {
                Some(Output::Out(bytes)) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} instead of {part}, after {shown:?}"),
            }
        }
    })
    .await;
    shown
}

async fn types(attached: &mut Attached, text: &str) {
    let input = Input::Data(Bytes::copy_from_slice(text.as_bytes()));
    attached.keyboard.say(&input).await.expect("it takes input");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_output_errors_and_status_pass() {
    let served = Served::new(|_| ()).await;
    let command = "echo $DYNO $FOO $PORT; cat; echo aside >&2; exit 7";
    let mut attached = served.attach(command, None).await;
    assert_eq!(served.stage.dynos.ps()[0].name, attached.dyno);
    types(&mut attached, "typed ").await;
    types(&mut attached, "twice\n").await;
    attached.keyboard.say(&Input::End).await.unwrap();
    let (out, err, status) = to_the_end(&mut attached).await;
    let name = attached.dyno.to_string();
    assert_eq!((out, err), (format!("{name} bar\ntyped twice\n"), "aside\n".to_owned()));
    assert_eq!(status, 7);
    assert!(name.starts_with("run.") && name.len() == 8, "{name}");
    served.stage.line(&format!("heroku[{name}]: Process exited with status 7")).await;
    let lines = served.stage.lines(&name);
    assert_eq!(
        lines,
        [
            format!("heroku[{name}]: Awaiting client"),
            format!("heroku[{name}]: Starting process with command `{command}`"),
            format!("heroku[{name}]: State changed from starting to up"),
            format!("heroku[{name}]: State changed from up to complete"),
            format!("heroku[{name}]: Process exited with status 7"),
        ]
    );
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_a_size_an_echo_and_signals() {
    let served = Served::new(|_| ()).await;
    let command = "tty >/dev/null && echo terminal; stty size; \
                   trap 'echo resized to $(stty size)' WINCH; trap 'echo caught' INT; \
                   while read line; do echo got $line; done; exit 3";
    let mut attached = served.attach(command, Some(size(101, 37))).await;
    until(&mut attached, "terminal\r\n37 101\r\n").await;
    types(&mut attached, "hello\n").await;
    until(&mut attached, "hello\r\ngot hello\r\n").await;
    attached.keyboard.say(&Input::Resized(size(64, 20))).await.unwrap();
    types(&mut attached, "more\n").await;
    until(&mut attached, "resized to 20 64").await;
    // Ctrl-C is a byte here; the terminal makes a signal of it. That takes a session of its own.
    if which("setsid") {
        types(&mut attached, "\x03").await;
        types(&mut attached, "again\n").await;
        until(&mut attached, "caught").await;
    }
    attached.keyboard.say(&Input::End).await.unwrap();
    let (_, _, status) = to_the_end(&mut attached).await;
    assert_eq!(status, 3);
    served.end().await;
}

fn which(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_ctrl_c_is_a_signal_too() {
    let served = Served::new(|_| ()).await;
    let mut attached = served.attach("echo ready; exec sleep 1000", None).await;
    until(&mut attached, "ready").await;
    attached.keyboard.say(&Input::Interrupt).await.unwrap();
    let (_, _, status) = to_the_end(&mut attached).await;
    assert_eq!(status, 130);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_hangs_up() {
    let served = Served::new(|_| ()).await;
    for terminal in [None, Some(size(80, 24))] {
        let mut attached = served.attach("echo ready; sleep 1000", terminal).await;
        until(&mut attached, "ready").await;
        let name = attached.dyno.to_string();
        drop(attached);
        served.stage.line(&format!("heroku[{name}]: Process exited with status 129")).await;
        let lines = served.stage.lines(&name).join("\n");
        let told = "Client connection closed. Sending SIGHUP to all processes";
        assert!(lines.contains(told) && !lines.contains("R16"), "{lines}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_it_is_told_of_and_left_to_itself_until_we_stop() {
    let served = Served::new(|timing| {
        timing.hangup = Duration::from_millis(50);
        timing.exit = Duration::from_millis(300);
    })
    .await;
    // The background process is in a group of its own, as a shell with job control does it.
    let command =
        "set -m; trap '' HUP TERM; sleep 1000 & echo ready $!; while :; do sleep 0.1; done";
    let mut attached = served.attach(command, Some(size(80, 24))).await;
    let mut shown = until(&mut attached, "ready").await;
    if !shown.ends_with('\n') {
        shown += &until(&mut attached, "\n").await;
    }
    let name = attached.dyno.to_string();
    drop(attached);
    served
        .stage
        .line(&format!(
            "heroku[{name}]: Error R16 (Detached) -> An attached process is not responding to \
             SIGHUP after its external connection was closed."
        ))
        .await;
    let lines = served.stage.lines(&name);
    let hangups = lines.iter().filter(|line| line.contains("Sending SIGHUP to all processes"));
    assert_eq!(hangups.count(), 3);
    let leader = served.stage.groups()[0];
    assert!(runs(leader));
    let background: Option<i32> = shown.split_whitespace().last().and_then(|id| id.parse().ok());
    let hub = served.stage.hub.clone();
    served.end().await;
    let end = hub.history(&LogFilter::default().dyno(&name).last(5));
    let end: Vec<&str> = end.iter().map(|entry| &*entry.text).collect();
    assert_eq!(
        end,
        [
            "Stopping all processes with SIGTERM",
            "Error R12 (Exit timeout) -> At least one process failed to exit within 0 seconds of \
             SIGTERM",
            "Stopping remaining processes with SIGKILL",
            "State changed from up to complete",
            "Process exited with status 137",
        ]
    );
    if let Some(background) = background {
        gone(&[background]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_without_a_client_is_given_up() {
    let served = Served::new(|timing| timing.attach = Duration::from_millis(100)).await;
    let awaiting = served
        .platform
        .one_offs
        .attached(&OneOff { command: "touch started".to_owned(), ..OneOff::default() });
    let awaiting = awaiting.unwrap();
    let name = awaiting.name.clone();
    let line = format!("app[{name}]: Error R13 (Attach error) -> Failed to attach to process");
    served.stage.line(&line).await;
    soon("it is gone", served.stage.dynos.wait_until(<[_]>::is_empty)).await;
    assert!(!served.stage.dir.path().join("started").exists());
    served.server.shutdown().await;
    served.platform.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed() {
    let served = Served::new(|timing| timing.idle = Duration::from_millis(200)).await;
    let mut attached = served.attach("exec sleep 1000", None).await;
    let (_, _, status) = to_the_end(&mut attached).await;
    assert_eq!(status, 129);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_one_writes_to_the_log_and_can_be_stopped() {
    let served = Served::new(|_| ()).await;
    let order = |command: &str| OneOff { command: command.to_owned(), ..OneOff::default() };
    let name = served.client.run_detached(&order("echo out; echo err >&2; exit 4")).await.unwrap();
    served.stage.line(&format!("app[{name}]: out")).await;
    served.stage.line(&format!("app[{name}]: err")).await;
    served.stage.line(&format!("heroku[{name}]: Process exited with status 4")).await;

    let name = served.client.run_detached(&order("exec sleep 1000")).await.unwrap();
    served.stage.line(&format!("heroku[{name}]: State changed from starting to up")).await;
    // A restart of all leaves it alone.
    let refused = served.client.restart("").await.unwrap_err().to_string();
    assert!(refused.starts_with("no dyno"), "{refused}");
    served.platform.one_offs.stop(&name).unwrap();
    served.stage.line(&format!("heroku[{name}]: Process exited with status 143")).await;
    soon("nothing to stop", async {
        while served.platform.one_offs.stop(&name).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    served.end().await;
}
