//! The provider against this machine's PostgreSQL, and against machines of our own making.

mod clusters;
mod discovery;
mod kills;
mod obtaining;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Binaries, Search};

/// This machine's PostgreSQL.
fn binaries() -> Binaries {
    let pg_bin = std::env::var_os("SURGETANK_PG_BIN").map(PathBuf::from);
    Binaries::discover(&Search::this_machine(pg_bin))
        .unwrap_or_else(|not_found| panic!("this test needs PostgreSQL\n{not_found}"))
}

/// A machine of our own making: an empty file system and an empty PATH.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(os_release: &str) -> Self {
        let root = tempfile::tempdir().expect("the temp folder can be written to");
        let machine = Self { root };
        for folder in ["etc", "bin", "home"] {
            fs::create_dir(machine.at(folder)).expect("it is empty");
        }
        fs::write(machine.at("etc/os-release"), os_release).expect("it is ours");
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A program; written by another process, because an executable file that a thread of ours has
    /// open for writing cannot be run (ETXTBSY), and a fork of another test may keep it open.
    fn script(&self, path: &str, body: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("it is ours");
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("coreutils are there");
        let mut input = install.stdin.take().expect("it was asked for");
        input.write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).expect("install reads");
        drop(input);
        assert!(install.wait().expect("it is our child").success());
    }

    /// A folder with what looks like a server of this version.
    fn server(&self, folder: &str, version: &str) {
        let answer = format!("echo 'postgres (PostgreSQL) {version} (Ours)'");
        self.script(&format!("{folder}/postgres"), &answer);
        self.script(&format!("{folder}/initdb"), "exit 0");
    }

    /// Puts a program of the real machine into this one's PATH.
    fn lend(&self, name: &str) {
        let path = std::env::var_os("PATH").expect("tests run with a PATH");
        let real = std::env::split_paths(&path).map(|folder| folder.join(name));
        let real = real.into_iter().find(|program| program.exists()).expect("a usual program");
        symlink(real, self.at("bin").join(name)).expect("not there yet");
    }

    fn search(&self) -> Search {
        Search {
            pg_bin: None,
            path: self.at("bin").into_os_string(),
            home: Some(self.at("home")),
            cache: self.at("cache"),
            root: self.root.path().to_owned(),
        }
    }
}

/// The names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().collect());
    let entries: Vec<_> = entries.unwrap_or_default();
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
