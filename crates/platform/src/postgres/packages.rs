//! The systems' package clients: what each is told to install a PostgreSQL server.

use std::fs;
use std::path::Path;

use nix::unistd::Uid;

/// One package client.
#[derive(Debug)]
pub(crate) struct Packager {
    /// Its program.
    pub(crate) program: &'static str,
    /// Systems that have it, by their names in os-release(5).
    systems: &'static [&'static str],
    /// What it is told.
    pub(crate) install: &'static [&'static str],
    /// What it is told if that fails for want of a package list.
    pub(crate) refresh: Option<&'static [&'static str]>,
    /// Who may use it.
    pub(crate) by: By,
}

/// Who may use a package client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Root,
    User,
}

/// The contrib package brings `pg_stat_statements` where the server's package has it not.
const SERVER_AND_CONTRIB: &[&str] = &["install", "-y", "postgresql-server", "postgresql-contrib"];

/// All that are known, the one meant by a system's name first.
pub(crate) const PACKAGERS: [Packager; 7] = [
    Packager {
        program: "apt-get",
        systems: &["debian", "ubuntu"],
        install: &["install", "-y", "postgresql"],
        refresh: Some(&["update"]),
        by: By::Root,
    },
    Packager {
        program: "dnf",
        systems: &["fedora", "rhel", "centos", "rocky", "almalinux", "amzn"],
        install: SERVER_AND_CONTRIB,
        refresh: None,
        by: By::Root,
    },
    Packager {
        program: "yum",
        systems: &[],
        install: SERVER_AND_CONTRIB,
        refresh: None,
        by: By::Root,
    },
    Packager {
        program: "apk",
        systems: &["alpine"],
        install: &["add", "postgresql", "postgresql-contrib"],
        refresh: Some(&["update"]),
        by: By::Root,
    },
    Packager {
        program: "pacman",
        systems: &["arch"],
        install: &["-S", "--noconfirm", "postgresql"],
        refresh: Some(&["-Sy"]),
        by: By::Root,
    },
    Packager {
        program: "zypper",
        systems: &["suse", "opensuse", "sles"],
        install: &["--non-interactive", "install", "postgresql-server", "postgresql-contrib"],
        refresh: None,
        by: By::Root,
    },
    Packager {
        program: "brew",
        systems: &["macos"],
        install: &["install", "postgresql@17"],
        refresh: None,
        by: By::User,
    },
];

/// What to type to install a server on the system whose root is `root`; `None` if it is unknown.
pub(crate) fn install_line(root: &Path) -> Option<String> {
    let names = system_names(root);
    let packager = names.iter().find_map(|name| {
        PACKAGERS.iter().find(|packager| packager.systems.contains(&name.as_str()))
    })?;
    let sudo = match packager.by {
        By::Root if !Uid::effective().is_root() => "sudo ",
        By::Root | By::User => "",
    };
    Some(format!("{sudo}{} {}", packager.program, packager.install.join(" ")))
}

/// What the system is called: `ID`, then each word of `ID_LIKE`.
fn system_names(root: &Path) -> Vec<String> {
    if cfg!(target_os = "macos") {
        return vec!["macos".to_owned()];
    }
    let release = fs::read_to_string(root.join("etc/os-release"))
        .or_else(|_| fs::read_to_string(root.join("usr/lib/os-release")))
        .unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    let id = value("ID").unwrap_or_default();
    let like = value("ID_LIKE").unwrap_or_default();
    std::iter::once(id.as_str()).chain(like.split_ascii_whitespace()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_of_systems_has_its_line() {
        let cases = [
            ("ID=debian\n", "apt-get install -y postgresql"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install -y postgresql"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install -y postgresql-server"),
            ("NAME=\"Alpine Linux\"\nID=alpine\n", "apk add postgresql"),
            ("ID=endeavouros\nID_LIKE='arch'\n", "pacman -S --noconfirm postgresql"),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "zypper --non-interactive"),
        ];
        for (release, line) in cases {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("etc")).unwrap();
            fs::write(folder.path().join("etc/os-release"), release).unwrap();
            let said = install_line(folder.path()).unwrap();
            assert!(said.contains(line), "{release}: {said}");
            assert_eq!(said.starts_with("sudo "), !Uid::effective().is_root());
        }
    }

    #[test]
    fn an_unknown_system_gets_no_invented_line() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(install_line(folder.path()), None);
    }
}
