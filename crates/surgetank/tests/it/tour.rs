//! README's tour, run: every command in a ```console block, in the order in which they stand.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A block of commands and the terminal it is typed into.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    terminal: String,
    commands: Vec<String>,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in markdown.lines() {
        match (&mut open, line.strip_prefix("```console")) {
            (None, Some(info)) => {
                let terminal = info.trim().strip_prefix("terminal=").unwrap_or("").to_owned();
                open = Some(Block { terminal, commands: Vec::new() });
            }
            (Some(_), _) if line == "```" => blocks.extend(open.take()),
            (Some(block), _) => block.commands.extend(line.strip_prefix("$ ").map(str::to_owned)),
            (None, None) => {}
        }
    }
    blocks
}

/// The tour's shop: a copy of the example in a folder of its own.
struct Tour {
    folder: tempfile::TempDir,
    port: u16,
    first_terminal: Option<Running>,
}

/// `surgetank up` in the first terminal. Dropping it presses Ctrl-C and waits.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it by this command, and returns when everything runs.
    pub(crate) fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut told = String::new();
        while !told.contains("Ctrl-C ends it") {
            let read = errors.read_line(&mut told).expect("UTF-8");
            assert!(read > 0, "`{command:?}` ended early:\n{told}");
        }
        // Whatever it still says must find a reader.
        std::thread::spawn(move || std::io::copy(&mut errors.by_ref(), &mut std::io::sink()));
        Self { child }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}

/// The tour's reader has curl; the machine that runs this test may not. Last in `PATH`, this asks
/// for the same page with the means at hand.
fn stand_in_for_curl(folder: &Path) {
    let script = "#!/bin/sh\nfor url; do :; done\nexec surgetank http-status \"$url\"\n";
    let path = folder.join("curl");
    std::fs::write(&path, script).expect("a script");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("an executable script");
}

/// A port for the time of the tour. It is below those that systems give to outgoing connections and
/// to whoever asks for any port: nobody gets it by chance meanwhile.
fn free_port() -> u16 {
    let first = 12_000 + u16::try_from(std::process::id() % 8000).expect("below 8000");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..20_000).chain(12_000..first).find(is_free).expect("a free port")
}

impl Tour {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/storefront");
        std::fs::copy(shop.join("Procfile"), folder.path().join("Procfile")).expect("a Procfile");
        stand_in_for_curl(folder.path());
        Self { folder, port: free_port(), first_terminal: None }
    }

    fn shell(&self, command: &str) -> Command {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_surgetank"));
        let own = binary.parent().expect("a folder").display().to_string();
        let inherited = std::env::var("PATH").unwrap_or_default();
        let path = format!("{own}:{inherited}:{}", self.folder.path().display());
        let mut shell = Command::new("bash");
        // `exec` for a single program, so that a signal reaches it and not the shell.
        shell.arg("-c").arg(command.replace("5000", &self.port.to_string()));
        shell.current_dir(self.folder.path()).env("PATH", path).stdin(Stdio::null());
        shell
    }

    fn start(&mut self, command: &str) {
        self.first_terminal = Some(Running::start(self.shell(&format!("exec {command}"))));
    }

    /// Asks for the log until this is in it.
    fn until_logged(&self, part: &str) {
        let asked = || self.run("surgetank logs -n 1500 -s app").1;
        let found = (0..500).map(|_| asked()).find(|log| log.contains(part));
        assert!(found.is_some(), "no {part} in the log:\n{}", asked());
    }

    fn run(&self, command: &str) -> (i32, String) {
        let output = self.shell(command).output().expect("bash runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }
}

#[test]
fn the_tour_of_the_readme_works() {
    let _alone = crate::MACHINE.blocking_lock();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let mut tour = Tour::new();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for block in blocks(&readme) {
        for command in &block.commands {
            match block.terminal.as_str() {
                "1" => {
                    tour.start(command);
                    // By the clock, so it may be there a moment later.
                    tour.until_logged("app[heroku-postgres]: source=DATABASE sample#");
                }
                "2" => {
                    // The tour says when to press Ctrl-C: before the recording is looked at.
                    if command.contains("record list") {
                        tour.first_terminal = None;
                    }
                    let (code, text) = tour.run(command);
                    // 1 is an answer too: `diagnose` that found something, runs that differ.
                    assert!(code == 0 || code == 1, "`{command}` ended with {code}:\n{text}");
                    said.insert(command.clone(), text);
                }
                _ => {} // installing: the binary under test is there already
            }
        }
    }
    let of = |start: &str| {
        let found = said.iter().find(|(command, _)| command.starts_with(start));
        found.map_or("", |(_, text)| text.as_str())
    };
    assert!(of("surgetank ps").contains("web.2: up"), "{}", of("surgetank ps"));
    assert!(of("surgetank run --dyno").contains("200"), "{}", of("surgetank run --dyno"));
    assert!(of("surgetank run 'echo").contains("hello from run."), "{}", of("surgetank run 'echo"));
    let releases = of("surgetank releases");
    assert!(releases.contains("Set GREETING config vars"), "{releases}");
    assert!(of("surgetank pg:info").contains("/20\n"), "{}", of("surgetank pg:info"));
    assert!(of("surgetank logs").contains("app[web.1]"), "{}", of("surgetank logs"));
    assert!(of("surgetank record show").contains("http requests"));
    assert!(of("surgetank load curve").contains("offered"), "{}", of("surgetank load curve"));
    assert!(tour.folder.path().join("shop.html").is_file());
}

#[test]
fn blocks_are_read_with_their_terminal() {
    let text = "a\n```console terminal=2\n$ one\noutput\n$ two\n```\n```\n$ not this\n```\n";
    let expected = Block { terminal: "2".into(), commands: vec!["one".into(), "two".into()] };
    assert_eq!(blocks(text), [expected]);
}
