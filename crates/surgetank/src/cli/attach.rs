//! `surgetank run CMD` and `run:detached CMD`: a one-off dyno, with this terminal attached to it.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;

use bytes::Bytes;
use platform::OneOff;
use platform::control::{Attached, Client, Keyboard};
use platform::one_off::{Input, Output, WindowSize};
use rustix::termios::{OptionalActions, Termios};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::{Exit, Interrupted};
use crate::out;

/// What was typed and not sent yet.
const TYPED_AHEAD: usize = 16;

/// Runs a command in a one-off dyno with our standard input and output; ends as it ends.
pub(crate) async fn attached(client: Client, command: String, tty: bool) -> anyhow::Result<Exit> {
    let terminal = tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let terminal = terminal.then(window_size);
    // Programs look there for what the terminal can do.
    let name = std::env::var("TERM").ok().filter(|_| terminal.is_some());
    let env = name.map(|name| ("TERM".to_owned(), name)).into_iter().collect();
    let order = OneOff { command, env, terminal };
    let Attached { dyno, mut keyboard, mut screen } = client.run_attached(&order).await?;
    if terminal.is_some() {
        out::talk(&format!("Running {} attached to terminal... up, {dyno}", order.command));
    }
    let _raw = terminal.map(|_| RawTerminal::enter()).transpose()?;
    let mut typed = typed();
    let mut resized = signal(SignalKind::window_change())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            output = screen.next() => match output? {
                Some(Output::Out(bytes)) => write(std::io::stdout().lock(), &bytes)?,
                Some(Output::Err(bytes)) => write(std::io::stderr().lock(), &bytes)?,
                Some(Output::Exited(status)) => {
                    return Ok(Exit::Passed(u8::try_from(status).unwrap_or(1)));
                }
                None => anyhow::bail!("{dyno}: the platform has gone"),
            },
            Some(input) = typed.recv() => say(&mut keyboard, &input).await,
            _ = resized.recv() => {
                if terminal.is_some() {
                    say(&mut keyboard, &Input::Resized(window_size())).await;
                }
            }
            // With a terminal Ctrl-C is typed like any other key.
            _ = interrupted.recv() => say(&mut keyboard, &Input::Interrupt).await,
            _ = ended.recv() => return Err(Interrupted.into()),
            _ = hung_up.recv() => return Err(Interrupted.into()),
        }
    }
}

/// A process that ends takes no more input; its end is told on the other half.
async fn say(keyboard: &mut Keyboard, input: &Input) {
    let _ended = keyboard.say(input).await;
}

fn write(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn window_size() -> WindowSize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout().as_fd());
    let size = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(WindowSize { columns: 80, lines: 24 }, |size| WindowSize {
        columns: size.ws_col,
        lines: size.ws_row,
    })
}

/// Standard input, read by a thread that ends with the process: reading cannot be given up.
fn typed() -> mpsc::Receiver<Input> {
    let (sender, typed) = mpsc::channel(TYPED_AHEAD);
    std::thread::spawn(move || {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let read = std::io::stdin().lock().read(&mut piece).unwrap_or(0);
            let bytes = Bytes::copy_from_slice(&piece[..read]);
            let input = if read == 0 { Input::End } else { Input::Data(bytes) };
            if sender.blocking_send(input).is_err() || read == 0 {
                return;
            }
        }
    });
    typed
}

/// A terminal that passes every key on as it is. Dropping it makes it as it was.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = rustix::termios::tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin.as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let stdin = std::io::stdin();
        // A terminal that has gone needs nothing.
        let _gone = rustix::termios::tcsetattr(stdin.as_fd(), OptionalActions::Drain, &self.before);
    }
}
