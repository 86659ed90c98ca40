//! How a command of the Procfile becomes a process: through a shell, in a process group of its
//! own, bound to our life where the system can do that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::spawner::{Contained, Ends, Launch};
use crate::container::ContainerCommand;

/// What a dyno inherits from us; everything else is config vars and what the platform adds.
/// Enough for programs to find each other and to speak the user's language, and no secrets.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The tools this machine has.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    shell: PathBuf,
    setpriv: Option<PathBuf>,
    setsid: Option<PathBuf>,
}

impl Shell {
    /// Looks for `bash` (else `sh`), for a `setpriv` that knows `--pdeathsig` and a `setsid` that
    /// knows `--wait` (util-linux's do, busybox's do not, macOS has none). Runs both once, so it
    /// blocks for a moment.
    pub(crate) fn discover() -> Self {
        let shell = find("bash").unwrap_or_else(|| PathBuf::from("/bin/sh"));
        let setpriv = find("setpriv").filter(|path| works(path, &["--pdeathsig", "KILL", "--"]));
        let setsid = find("setsid").filter(|path| works(path, &["--wait"]));
        Self { shell, setpriv, setsid }
    }

    /// The process for one command. Its environment is exactly that of the launch.
    ///
    /// # Errors
    /// The terminal cannot be handed on.
    pub(crate) fn command(&self, launch: &Launch) -> io::Result<Command> {
        let mut words: Vec<&OsStr> = Vec::new();
        // The kernel then kills the process when the thread that started it ends, however that
        // comes about: nothing is left even after `kill -9` of ourselves.
        if let Some(setpriv) = &self.setpriv {
            words.push(setpriv.as_os_str());
            words.extend(["--pdeathsig", "KILL", "--"].map(OsStr::new));
        }
        let shell = self.words(launch);
        words.extend(shell.iter().map(OsString::as_os_str));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&launch.dir).env_clear();
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        connect(&mut command, &launch.ends)?;
        // `setsid` makes a group by itself; one that leads a group already would have to fork.
        if self.session(launch).is_none() {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        Ok(command)
    }

    /// The same in a container: the process is that of the container's helper, which ends as the
    /// command does and leads a group of its own.
    ///
    /// # Errors
    /// The container's files cannot be written, or the terminal cannot be handed on.
    pub(crate) fn contained(&self, launch: &Launch, how: &Contained) -> io::Result<Command> {
        let words = self.words(launch).iter().map(|word| word.display().to_string()).collect();
        let inside = ContainerCommand { words, env: &launch.env };
        let mut command = match how {
            Contained::First(container) => container.start(&inside)?,
            Contained::Further(container) => container.join(&inside)?,
        };
        connect(&mut command, &launch.ends)?;
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }

    /// The shell with its command line, on a terminal as the leader of a session: only who leads
    /// one has a terminal's signals (Ctrl-C) and job control.
    fn words(&self, launch: &Launch) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(setsid) = self.session(launch) {
            words
                .extend([setsid.as_os_str(), "--ctty".as_ref(), "--wait".as_ref()].map(Into::into));
        }
        words.extend([self.shell.clone().into_os_string(), "-c".into()]);
        words.push(script(&launch.command, &launch.dir).into());
        words
    }

    fn session(&self, launch: &Launch) -> Option<&Path> {
        self.setsid.as_deref().filter(|_| launch.ends.is_session())
    }
}

/// Connects a process to what it reads and writes.
fn connect(command: &mut Command, ends: &Ends) -> io::Result<()> {
    match ends {
        Ends::Output => command.stdin(Stdio::null()),
        Ends::Pipes => command.stdin(Stdio::piped()),
        Ends::Terminal(inner) => command.stdin(inner.try_clone()?),
    };
    match ends {
        Ends::Output | Ends::Pipes => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        Ends::Terminal(inner) => command.stdout(inner.try_clone()?).stderr(inner.try_clone()?),
    };
    Ok(())
}

/// The inherited part of a dyno's environment.
pub(crate) fn inherited() -> Vec<(String, String)> {
    let value = |name: &&str| Some(((*name).to_owned(), std::env::var(*name).ok()?));
    INHERITED.iter().filter_map(value).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether a tool knows these words (BusyBox's and others often do not), found out by running it.
fn works(tool: &Path, words: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command.args(words).arg("true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// As on Heroku, the app's `.profile` is sourced first if there is one, and the shell gives its
/// place to the command, so that the process we see is the app itself.
fn script(line: &str, dir: &Path) -> String {
    let exec = if is_simple(line) { "exec " } else { "" };
    let profile = if dir.join(".profile").is_file() { ". ./.profile; " } else { "" };
    format!("{profile}{exec}{line}")
}

/// Whether `exec` may stand before the command. Before a list (`a && b`), an assignment
/// (`A=b c`) or a shell word such as `while` it would change the meaning or fail; those run in
/// the shell, and signals reach their processes because they go to the whole group.
fn is_simple(line: &str) -> bool {
    const SHELL_WORDS: &[&str] = &[
        "!", "{", "[[", "alias", "builtin", "case", "cd", "command", "declare", "eval", "exec",
        "exit", "export", "for", "function", "if", "let", "read", "readonly", "select", "set",
        "shopt", "source", ".", ":", "time", "trap", "type", "typeset", "ulimit", "umask", "unset",
        "until", "wait", "while",
    ];
    let first = line.split_whitespace().next().unwrap_or("");
    let assigns = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    let list = line.contains([';', '&', '|', '(', ')', '\n', '`']);
    !assigns && !list && !SHELL_WORDS.contains(&first)
}

/// The command as Heroku's log shows it: with the port in the place of `$PORT`.
pub(crate) fn shown(line: &str, port: Option<u16>) -> String {
    let Some(port) = port.map(|port| port.to_string()) else { return line.to_owned() };
    let line = line.replace("${PORT}", &port);
    let mut pieces = line.split("$PORT");
    let mut shown = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        // `$PORTAL` is another variable.
        let longer = piece.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        shown.push_str(if longer { "$PORT" } else { &port });
        shown.push_str(piece);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_stands_only_before_simple_commands() {
        for line in ["bin/server -p $PORT", "ruby app.rb > log", "env A=b c", "./a=b/c x"] {
            assert!(is_simple(line), "{line}");
        }
        for line in ["a && b", "A=b c", "cd x", "command x", "a; b", "a | b", "(a)", "trap '' TERM"]
        {
            assert!(!is_simple(line), "{line}");
        }
    }

    #[test]
    fn the_port_is_shown_as_a_number() {
        assert_eq!(shown("s $PORT ${PORT} $PORT_X", Some(5000)), "s 5000 5000 $PORT_X");
        assert_eq!(shown("s -p $PORT", None), "s -p $PORT");
    }
}
