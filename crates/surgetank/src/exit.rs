//! How the program ends: 0 good, 1 ran and the answer is bad, 2 usage, else sysexits.

use std::process::ExitCode;

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Good,
    /// It ran, and the answer is bad: an act failed, a finding was made, a proof was not reached.
    BadAnswer,
    /// The command line was wrong.
    Usage,
    /// Something that it needs is not there (EX_UNAVAILABLE).
    Unavailable,
    /// It could not do what was asked (EX_SOFTWARE).
    Failed,
    /// Ctrl-C or SIGTERM ended it.
    Interrupted,
    /// `run` passes on the exit code of what it ran.
    Passed(u8),
}

/// An error that says the thing needed is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

/// An error that says somebody pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

impl Exit {
    /// From clap's verdict: help and version are good ends.
    pub(crate) fn from_usage(usage: &clap::Error) -> Self {
        // Nothing can be done about a terminal that does not take the message.
        let _ = usage.print();
        if usage.use_stderr() { Self::Usage } else { Self::Good }
    }

    /// From a command's result; an error is printed as one line.
    pub(crate) fn from_result(result: anyhow::Result<Self>) -> Self {
        let error = match result {
            Ok(exit) => return exit,
            Err(error) => error,
        };
        if error.is::<Interrupted>() {
            return Self::Interrupted;
        }
        if is_broken_pipe(&error) {
            return Self::Good;
        }
        crate::out::talk(&format!("surgetank: {}", one_line(&error)));
        if error.is::<Unavailable>() { Self::Unavailable } else { Self::Failed }
    }
}

/// An error with its causes, each said once: many errors quote their cause themselves.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |mut line, cause| {
        if line.is_empty() {
            return cause;
        }
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
        line
    })
}

/// `surgetank logs | head` ends when `head` has enough: that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        let code = match exit {
            Exit::Good => 0,
            Exit::BadAnswer => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 69,
            Exit::Failed => 70,
            Exit::Interrupted => 130,
            Exit::Passed(code) => code,
        };
        Self::from(code)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow!("no such file").context("cannot read x: no such file; make one");
        assert_eq!(one_line(&error), "cannot read x: no such file; make one");
        let error = anyhow!("permission denied").context("/etc/x").context("reading settings");
        assert_eq!(one_line(&error), "reading settings: /etc/x: permission denied");
    }
}
