//! `Procfile`: which commands an app consists of, one `<type>: <command>` a line.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::name::is_process_type;

/// The process types of an app, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procfile {
    entries: Vec<Entry>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    process_type: String,
    command: String,
}

impl Procfile {
    /// Reads `<app_dir>/Procfile`.
    ///
    /// # Errors
    /// The file cannot be read, or a line is wrong.
    pub fn read(app_dir: &Path) -> Result<Self> {
        let path = app_dir.join("Procfile");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::ProcfileRead { path: path.clone(), source })?;
        Self::parse(&text)
    }

    /// Reads the text of a Procfile. Blank lines and lines that begin with `#` are comments.
    ///
    /// # Errors
    /// A line without a colon, with a wrong type, without a command, or a type given twice; or no
    /// line at all. The error tells the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse_line(line)
                .and_then(|entry| not_twice(&entries, entry))
                .map_err(|reason| Error::ProcfileLine { line: index + 1, reason })?;
            entries.push(entry);
        }
        if entries.is_empty() {
            let reason = "no process type; expected for example `web: bin/server`".to_owned();
            return Err(Error::ProcfileLine { line: 1, reason });
        }
        Ok(Self { entries })
    }

    /// The process types, in the order of the file.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.process_type)
    }

    /// The command of a process type.
    #[must_use]
    pub fn command(&self, process_type: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.process_type == process_type)?;
        Some(&entry.command)
    }
}

/// As it is parsed: comments are gone.
impl fmt::Display for Procfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = self.entries.iter();
        entries.try_for_each(|entry| writeln!(f, "{}: {}", entry.process_type, entry.command))
    }
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let expected = "expected `<type>: <command>`";
    let Some((process_type, command)) = line.split_once(':') else {
        return Err(format!("no colon in `{line}`; {expected}"));
    };
    let (process_type, command) = (process_type.trim(), command.trim());
    if !is_process_type(process_type) {
        return Err(format!(
            "`{process_type}` is not a process type (letters, digits, `-`, `_`); {expected}"
        ));
    }
    if process_type == "run" {
        return Err("the type `run` is kept for one-off dynos; choose another name".to_owned());
    }
    if command.is_empty() {
        return Err(format!("`{process_type}` has no command; {expected}"));
    }
    Ok(Entry { process_type: process_type.to_owned(), command: command.to_owned() })
}

fn not_twice(entries: &[Entry], entry: Entry) -> Result<Entry, String> {
    if entries.iter().any(|other| other.process_type == entry.process_type) {
        return Err(format!("`{}` is given twice; keep one of them", entry.process_type));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_types_in_order_with_comments_and_colons_in_commands() {
        let text = "# the app\n\nweb: bin/server -p $PORT -b tcp://0.0.0.0\r\n  worker:run.sh\n";
        let procfile = Procfile::parse(text).unwrap();
        assert_eq!(procfile.types().collect::<Vec<_>>(), ["web", "worker"]);
        assert_eq!(procfile.command("web"), Some("bin/server -p $PORT -b tcp://0.0.0.0"));
        assert_eq!(procfile.command("worker"), Some("run.sh"));
        assert_eq!(procfile.command("clock"), None);
        assert_eq!(Procfile::parse(&procfile.to_string()).unwrap(), procfile);
    }

    #[test]
    fn wrong_lines_are_told_with_their_number() {
        let error = |text: &str| Procfile::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("web: a\n\nworker"),
            "Procfile line 3: no colon in `worker`; expected `<type>: <command>`"
        );
        assert!(error("w b: a").starts_with("Procfile line 1: `w b` is not a process type"));
        assert!(error("# x\nweb:  ").starts_with("Procfile line 2: `web` has no command"));
        assert!(error("web: a\nweb: b").starts_with("Procfile line 2: `web` is given twice"));
        assert!(error("run: a").contains("kept for one-off dynos"));
        assert!(error("\n# nothing\n").contains("no process type"));
    }

    #[test]
    fn a_missing_file_says_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = Procfile::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("Procfile"), "{error}");
    }
}
