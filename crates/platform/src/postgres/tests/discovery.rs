//! Which server is taken, and what is said when there is none.

use super::{Machine, symlink};
use crate::postgres::{Binaries, FoundBy, Version};

#[test]
fn a_named_folder_without_a_server_is_an_error_and_nothing_else_is_looked_at() {
    let machine = Machine::new("ID=debian\n");
    machine.server("usr/lib/postgresql/16/bin", "16.4");
    machine.script("half/postgres", "exit 0");
    let mut search = machine.search();
    for (folder, why) in [("half", "no initdb there"), ("nowhere", "no such folder")] {
        search.pg_bin = Some(machine.at(folder));
        let not_found = Binaries::discover(&search).unwrap_err();
        let said = not_found.to_string();
        assert!(said.contains(why), "{said}");
        assert!(said.contains(&*machine.at(folder).to_string_lossy()), "{said}");
        assert!(said.contains("--pg-bin"), "{said}");
        assert!(!not_found.may_be_obtained());
    }
}

#[test]
fn with_nothing_anywhere_the_screen_has_the_line_to_type() {
    let machine = Machine::new("ID=debian\n");
    let not_found = Binaries::discover(&machine.search()).unwrap_err();
    assert!(not_found.may_be_obtained());
    assert!(not_found.install_line().is_some_and(|line| line.contains("apt-get install")));
    let said = not_found.to_string();
    for part in ["apt-get install -y postgresql", "--yes", "--pg-bin", "PATH"] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    assert!(said.lines().count() <= 24, "more than a screen:\n{said}");
}

#[test]
fn the_highest_version_of_the_well_known_folders_wins() {
    let machine = Machine::new("ID=debian\n");
    machine.server("usr/lib/postgresql/9.6/bin", "9.6.24");
    machine.server("usr/lib/postgresql/15/bin", "15.18 (Debian 15.18-0+deb12u1)");
    machine.server("usr/pgsql-17/bin", "17.2");
    machine.server("cache/18.4/bin", "18.4");
    let found = Binaries::discover(&machine.search()).unwrap();
    assert_eq!(found.folder(), machine.at("usr/pgsql-17/bin"));
    assert_eq!(found.version(), Version { major: 17, minor: 2 });
    assert_eq!(found.found_by(), FoundBy::WellKnown);
}

#[test]
fn the_cache_is_looked_at_last() {
    let machine = Machine::new("ID=debian\n");
    machine.server("cache/18.4/bin", "18.4");
    machine.server("cache/18.10/bin", "18.10");
    let found = Binaries::discover(&machine.search()).unwrap();
    assert_eq!(found.version(), Version { major: 18, minor: 10 });
    assert_eq!(found.found_by(), FoundBy::Cache);
}

#[test]
fn the_development_package_alone_is_no_server() {
    // libpq-dev brings pg_config, which names a folder that the server's package would fill.
    let machine = Machine::new("ID=debian\n");
    let named = machine.at("usr/lib/postgresql/15/bin");
    machine.script("bin/pg_config", &format!("echo {}", named.display()));
    let said = Binaries::discover(&machine.search()).unwrap_err().to_string();
    assert!(said.contains("pg_config --bindir"), "{said}");
    machine.server("usr/lib/postgresql/15/bin", "15.18");
    let found = Binaries::discover(&machine.search()).unwrap();
    assert_eq!(found.found_by(), FoundBy::PgConfig);
}

#[test]
fn a_link_in_path_leads_to_the_folder_with_initdb() {
    let machine = Machine::new("ID=debian\n");
    machine.server("opt/pg/bin", "16.4");
    symlink(machine.at("opt/pg/bin/postgres"), machine.at("bin/postgres")).unwrap();
    let found = Binaries::discover(&machine.search()).unwrap();
    assert_eq!(found.found_by(), FoundBy::Path);
    assert!(found.bin("initdb").exists());
}

#[test]
fn a_server_that_is_too_old_is_passed_over_and_named() {
    let machine = Machine::new("ID=debian\n");
    machine.server("usr/lib/postgresql/12/bin", "12.22");
    let said = Binaries::discover(&machine.search()).unwrap_err().to_string();
    assert!(said.contains("version 12.22 is older than 13"), "{said}");
}

#[test]
fn versions_are_read_as_postgresql_writes_them() {
    let cases = [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some((15, 18))),
        ("postgres (PostgreSQL) 19devel", Some((19, 0))),
        ("postgres (PostgreSQL) 18beta1", Some((18, 0))),
        ("postgres (PostgreSQL) ", None),
        ("psql 15", None),
    ];
    for (answer, expected) in cases {
        let expected = expected.map(|(major, minor)| Version { major, minor });
        assert_eq!(Version::parse(answer), expected, "{answer}");
    }
}
