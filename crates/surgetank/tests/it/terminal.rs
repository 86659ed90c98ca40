//! `surgetank run` at a terminal: what is typed, its size, Ctrl-C, and the exit code.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::tour::Running;

/// How long an answer may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal with a program at it. Dropping it ends the program.
struct Terminal {
    program: Child,
    outer: OwnedFd,
    shown: Receiver<Vec<u8>>,
    screen: String,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.program.kill().and_then(|()| self.program.wait());
    }
}

fn size(lines: u16, columns: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// A program that leads a session at a new terminal, as one that a person starts does.
    fn open(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = rustix::pty::openpt(flags).expect("a terminal");
        rustix::pty::grantpt(&outer).expect("ours");
        rustix::pty::unlockpt(&outer).expect("ours");
        let path = rustix::pty::ptsname(&outer, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inner = rustix::fs::open(path, flags, Mode::empty()).expect("its inner side");
        rustix::termios::tcsetwinsize(&outer, size(33, 101)).expect("a size");
        let end = || Stdio::from(inner.try_clone().expect("a copy"));
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid");
        drop((command, inner));
        let (show, shown) = channel();
        let mut screen = std::fs::File::from(outer.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // When nobody has the inner side open any more, reading fails.
            while let Ok(read @ 1..) = screen.read(&mut piece) {
                if show.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { program, outer, shown, screen: String::new() }
    }

    fn type_in(&self, text: &str) {
        let mut outer = std::fs::File::from(self.outer.try_clone().expect("a copy"));
        outer.write_all(text.as_bytes()).expect("it is there");
    }

    /// Waits until this is shown; what was shown before it is forgotten.
    fn until(&mut self, text: &str) {
        while !self.screen.contains(text) {
            let more = self.shown.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|why| panic!("no {text} ({why}): {:?}", self.screen));
            self.screen += &String::from_utf8_lossy(&more);
        }
        let (_, after) = self.screen.split_once(text).expect("it is in there");
        self.screen = after.to_owned();
    }
}

#[test]
fn a_one_off_dyno_has_this_terminal() {
    let _alone = crate::MACHINE.blocking_lock();
    // Who else would lead a session at the terminal?
    let setsid = Command::new("setsid").args(["--ctty", "--wait", "true"]).output();
    if !setsid.is_ok_and(|output| output.status.success()) {
        let _unheard = writeln!(std::io::stderr(), "SKIPPED, there is no `setsid --ctty` here");
        return;
    }
    let app = tempfile::tempdir().unwrap();
    std::fs::write(app.path().join("Procfile"), "worker: exec sleep 1000\n").unwrap();
    let surgetank = env!("CARGO_BIN_EXE_surgetank");
    let mut up = Command::new(surgetank);
    up.args(["up", "-m", "worker=1", "--port", "0"]).current_dir(app.path()).stdin(Stdio::null());
    let _up = Running::start(up);

    let script = "test -t 0 && test -t 1 && echo terminal$((1)); stty size; \
                  read line; echo got:$line; \
                  trap 'echo now $(stty size)' WINCH; trap 'echo caught; exit 7' INT; \
                  echo ready$((1)); while :; do sleep 0.05; done";
    let mut run = Command::new("setsid");
    run.args(["--ctty", "--wait", surgetank, "run", script]).current_dir(app.path());
    let mut terminal = Terminal::open(run);
    terminal.until("up, run.");
    terminal.until("terminal1");
    terminal.until("33 101");
    terminal.type_in("hello\r");
    // The inner terminal shows what is typed, the outer does not: once.
    terminal.until("hello");
    terminal.until("got:hello");
    terminal.until("ready1");
    rustix::termios::tcsetwinsize(&terminal.outer, size(44, 55)).unwrap();
    terminal.until("now 44 55");
    terminal.type_in("\x03");
    terminal.until("caught");
    assert_eq!(terminal.program.wait().unwrap().code(), Some(7));
}
