//! A one-off dyno with a client: what it types, what it sees, and what happens when it goes.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::terminal::Terminal;
use super::{Input, Line, Listed, OneOffs, Output, WindowSize};
use crate::dyno::{Ends, Errand, Launched, last_output};

/// SIGHUPs before R16.
const HANGUPS: usize = 3;
/// Most bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// Where the client's bytes go.
enum Keyboard {
    Terminal(Arc<Terminal>),
    /// Gone once the client has said that there is no more.
    Pipe(Option<ChildStdin>),
}

/// When something last passed.
type Passed = Arc<Mutex<Instant>>;

impl OneOffs {
    /// The life of an attached one-off dyno.
    pub(super) async fn attend(
        &self,
        errand: Errand,
        stop: &CancellationToken,
        attached: oneshot::Receiver<Line>,
        size: Option<WindowSize>,
    ) {
        let name = errand.name.clone();
        let _listed = Listed { name: &name, running: &self.running };
        self.say(&name, "Awaiting client");
        let line = tokio::select! {
            line = timeout(self.timing.attach, attached) => line,
            () = stop.cancelled() => return,
        };
        let Ok(Ok(line)) = line else {
            self.hub.write(
                crate::logs::Source::App,
                &name.to_string(),
                "Error R13 (Attach error) -> Failed to attach to process",
            );
            return;
        };
        let output = line.output.clone();
        let outcome = match self.converse(errand, stop, line, size).await {
            Ok(status) => self.ended(&name, status).code(),
            // Told in the log already; a shell's status for what could not be run.
            Err(_) => 126,
        };
        // A client that has gone has nobody to be told.
        let _gone = output.send(Output::Exited(outcome)).await;
    }

    async fn converse(
        &self,
        errand: Errand,
        stop: &CancellationToken,
        line: Line,
        size: Option<WindowSize>,
    ) -> crate::error::Result<io::Result<ExitStatus>> {
        let name = errand.name.clone();
        let terminal = size.map(Terminal::open).transpose().map_err(|source| {
            let command = errand.command().to_owned();
            crate::error::Error::Spawn { dyno: name.clone(), command, source }
        })?;
        let (terminal, ends) = match terminal {
            Some((terminal, inner)) => (Some(terminal), Ends::Terminal(Arc::new(inner))),
            None => (None, Ends::Pipes),
        };
        let mut launched = self.launch(errand, ends).await?;
        let passed: Passed = Arc::new(Mutex::new(launched.launched));
        let mut readers = JoinSet::new();
        let keyboard = match terminal.map(Arc::new) {
            Some(terminal) => {
                let (screen, output) = (Arc::clone(&terminal), line.output.clone());
                let passed = Arc::clone(&passed);
                readers.spawn(async move { show_terminal(&screen, &output, &passed).await });
                Keyboard::Terminal(terminal)
            }
            None => {
                let child = &mut launched.process.child;
                if let Some(pipe) = child.stdout.take() {
                    readers.spawn(show(pipe, line.output.clone(), Output::Out, passed.clone()));
                }
                if let Some(pipe) = child.stderr.take() {
                    readers.spawn(show(pipe, line.output.clone(), Output::Err, passed.clone()));
                }
                Keyboard::Pipe(child.stdin.take())
            }
        };
        let (gone, interrupt) = (CancellationToken::new(), mpsc::channel(1));
        let mut typist = JoinSet::new();
        let typing = typed(line.input, keyboard, interrupt.0, passed.clone());
        let (hung_up, output) = (gone.clone().drop_guard(), line.output);
        typist.spawn(async move {
            let _hung_up = hung_up;
            tokio::select! {
                () = typing => {}
                // Typing may wait for a process that does not read.
                () = output.closed() => {}
            }
        });
        let status = self.watch(&mut launched, stop, &gone, interrupt.1, &passed).await;
        launched.process.group.signal(Signal::SIGKILL);
        typist.shutdown().await;
        last_output(readers).await;
        Ok(status)
    }

    /// Waits for the end of the process, the client, the owner or the time.
    async fn watch(
        &self,
        launched: &mut Launched,
        stop: &CancellationToken,
        gone: &CancellationToken,
        mut interrupts: mpsc::Receiver<()>,
        passed: &Passed,
    ) -> io::Result<ExitStatus> {
        loop {
            let idle = *passed.lock() + self.timing.idle;
            tokio::select! {
                status = launched.process.child.wait() => return status,
                () = stop.cancelled() => return self.end(launched).await,
                () = gone.cancelled() => return self.hang_up(launched, stop).await,
                Some(()) = interrupts.recv() => launched.process.group.signal(Signal::SIGINT),
                () = sleep_until(idle) => {
                    if passed.lock().elapsed() >= self.timing.idle {
                        return self.hang_up(launched, stop).await;
                    }
                }
            }
        }
    }

    /// The client is gone: so many SIGHUPs, then it is left to itself until we stop.
    async fn hang_up(
        &self,
        launched: &mut Launched,
        stop: &CancellationToken,
    ) -> io::Result<ExitStatus> {
        let name = launched.errand().name.clone();
        for _ in 0..HANGUPS {
            self.say(&name, "Client connection closed. Sending SIGHUP to all processes");
            launched.process.group.signal(Signal::SIGHUP);
            tokio::select! {
                ended = timeout(self.timing.hangup, launched.process.child.wait()) => {
                    if let Ok(status) = ended {
                        return status;
                    }
                }
                () = stop.cancelled() => return self.end(launched).await,
            }
        }
        self.say(
            &name,
            "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its \
             external connection was closed.",
        );
        tokio::select! {
            status = launched.process.child.wait() => status,
            () = stop.cancelled() => self.end(launched).await,
        }
    }
}

/// Passes on what the client types; returns when it has gone.
async fn typed(
    mut input: mpsc::Receiver<Input>,
    mut keyboard: Keyboard,
    interrupt: mpsc::Sender<()>,
    passed: Passed,
) {
    while let Some(said) = input.recv().await {
        *passed.lock() = Instant::now();
        // A process that does not take it is about to end, or does not want it.
        let _not_taken = match (said, &mut keyboard) {
            (Input::Data(bytes), Keyboard::Terminal(terminal)) => terminal.write_all(&bytes).await,
            (Input::Data(bytes), Keyboard::Pipe(Some(pipe))) => pipe.write_all(&bytes).await,
            // What Ctrl-D types: the terminal makes an end of it.
            (Input::End, Keyboard::Terminal(terminal)) => terminal.write_all(b"\x04").await,
            (Input::End, Keyboard::Pipe(pipe)) => {
                drop(pipe.take());
                Ok(())
            }
            (Input::Resized(size), Keyboard::Terminal(terminal)) => terminal.resize(size),
            (Input::Interrupt, _) => {
                let _one_is_enough = interrupt.try_send(());
                Ok(())
            }
            (Input::Data(_) | Input::Resized(_), Keyboard::Pipe(_)) => Ok(()),
        };
    }
}

async fn show_terminal(terminal: &Terminal, output: &mpsc::Sender<Output>, passed: &Passed) {
    let mut piece = vec![0; PIECE];
    loop {
        // A terminal that breaks is one that ended.
        let read = terminal.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        *passed.lock() = Instant::now();
        // Without a client it is read all the same, so that the process does not stall.
        let _gone = output.send(Output::Out(Bytes::copy_from_slice(&piece[..read]))).await;
    }
}

async fn show(
    mut pipe: impl AsyncRead + Unpin,
    output: mpsc::Sender<Output>,
    kind: fn(Bytes) -> Output,
    passed: Passed,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = pipe.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        *passed.lock() = Instant::now();
        let _gone = output.send(kind(Bytes::copy_from_slice(&piece[..read]))).await;
    }
}
