//! The plan of a container in the words of the OCI runtime specification: what it sees and may do.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::{APP, ContainerOptions, Egress};
use crate::dyno::Size;
use crate::postgres::RunFolder;
use crate::private::FOLDER;

/// Folders of the system that every dyno sees, read-only; those that are symbolic links here
/// (merged /usr) are so there.
const SYSTEM: &[&str] =
    &["usr", "etc", "opt", "nix", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Folders that are made in any case: mount points, and what programs expect to be there.
const SKELETON: &[&str] =
    &["app", "dev", "home", "mnt", "proc", "root", "run", "srv", "sys", "tmp", "var/tmp"];
/// What the processes of a dyno may do as its root: as much as an app's own set-up does (change
/// owners, users, ports below 1024), nothing to the machine.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
];
/// What would tell a dyno of the machine's kernel memory, keys and passwords.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/etc/gshadow",
    "/etc/shadow",
];
/// What a dyno may read but not change, as it is the machine's.
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Where programs of ours are, within.
const PROGRAMS: &str = "/.surgetank/bin";

/// A command and its environment.
pub(crate) struct Command<'a> {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    /// As it is outside; folders are translated.
    pub(crate) env: &'a [(String, String)],
}

/// All that a container's configuration is made of.
pub(super) struct Plan<'a> {
    pub(super) folder: &'a Path,
    pub(super) app_dir: &'a Path,
    pub(super) hostname: &'a str,
    pub(super) size: Size,
    /// None for an ordinary user: then no limit holds.
    pub(super) cgroup: Option<&'a str>,
    pub(super) network: Option<PathBuf>,
    pub(super) options: &'a ContainerOptions,
}

impl Plan<'_> {
    /// Makes the root folder and writes the configuration beside it.
    pub(super) fn write(&self, command: &Command<'_>) -> io::Result<()> {
        self.skeleton()?;
        let mut config = json!({
            "ociVersion": "1.0.2",
            "hostname": self.hostname,
            "root": { "path": self.folder.join("rootfs"), "readonly": true },
            "process": self.process(command),
            "mounts": self.mounts()?,
            "linux": {
                "namespaces": self.namespaces(),
                "cgroupsPath": self.cgroup.unwrap_or(super::userns::NO_GROUP),
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            },
        });
        if self.cgroup.is_some() {
            config["linux"]["resources"] = self.resources();
        }
        // Config vars are in it.
        write_secret(&self.folder.join("config.json"), &serde_json::to_vec(&config)?)
    }

    /// Folders to mount on, and symbolic links as the machine has them.
    fn skeleton(&self) -> io::Result<()> {
        let root = self.folder.join("rootfs");
        for folder in SKELETON {
            fs::create_dir_all(root.join(folder))?;
        }
        for name in SYSTEM {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, root.join(name))?;
            }
        }
        fs::set_permissions(self.folder.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        // What was installed into the app's folder may hold its absolute path (the first line of
        // scripts in a virtual environment): that path leads to the dyno's copy.
        if !is_mounted(self.app_dir)
            && let Ok(inside) = self.app_dir.strip_prefix("/")
            && let Some(parent) = inside.parent()
        {
            fs::create_dir_all(root.join(parent))?;
            symlink(APP, root.join(inside))?;
        }
        Ok(())
    }

    fn process(&self, command: &Command<'_>) -> Value {
        let env = environment(command.env, self.app_dir, self.options.run.path());
        let env: Vec<String> =
            env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": command.words,
            "env": env,
            "cwd": APP,
            "noNewPrivileges": true,
            "rlimits": self.process_limit(),
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
        })
    }

    fn mounts(&self) -> io::Result<Vec<Value>> {
        let part = |name: &str| self.folder.join(name).display().to_string();
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666"],
            ),
            mount(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"],
            ),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755", "size=16m"]),
        ];
        if self.cgroup.is_none() && self.network.is_none() {
            // Only who owns the network may mount it anew.
            mounts.push(read_only(Path::new("/sys"), Path::new("/sys")));
        } else {
            mounts.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
        }
        if self.cgroup.is_some() {
            let options = &["nosuid", "noexec", "nodev", "ro"];
            mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", options));
        }
        for name in SYSTEM {
            let path = Path::new("/").join(name);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                mounts.push(read_only(&path, &path));
            }
        }
        if self.options.egress == Egress::All
            && let Ok(names) = fs::canonicalize("/etc/resolv.conf")
            && names.starts_with("/run")
        {
            mounts.push(read_only(&names, &names));
        }
        // On disk, as on Heroku: what is written there is not counted as memory.
        for path in ["/tmp", "/var/tmp"] {
            mounts.push(mount(path, "bind", &part("tmp"), &["bind", "nosuid", "nodev"]));
        }
        mounts.push(self.app()?);
        if self.app_dir.join(FOLDER).is_dir() {
            // Recordings and what else is ours is no part of the app.
            let hidden = format!("{APP}/{FOLDER}");
            mounts.push(mount(&hidden, "tmpfs", "tmpfs", &["ro", "mode=755", "size=4k"]));
        }
        for path in &self.options.binds {
            mounts.push(read_only(path, path));
        }
        for (name, file) in &self.options.programs {
            mounts.push(read_only(file, &Path::new(PROGRAMS).join(name)));
        }
        Ok(mounts)
    }

    /// The app's folder with the dyno's own writes over it: nothing is copied, nothing is changed.
    fn app(&self) -> io::Result<Value> {
        let path = |path: &Path| {
            let text = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
            // Several lower folders are separated by colons.
            Ok::<_, io::Error>(text.replace('\\', "\\\\").replace(':', "\\:"))
        };
        let lower = format!("lowerdir={}", path(self.app_dir)?);
        let upper = format!("upperdir={}", path(&self.folder.join("upper"))?);
        let work = format!("workdir={}", path(&self.folder.join("work"))?);
        let mut options = vec!["nosuid", "nodev", &lower, &upper, &work];
        // Notes beside files that an ordinary user may write (Linux 5.11).
        options.extend(self.cgroup.is_none().then_some("userxattr"));
        Ok(mount(APP, "overlay", "overlay", &options))
    }

    fn namespaces(&self) -> Value {
        let mut all: Vec<Value> = ["pid", "mount", "uts", "ipc"]
            .into_iter()
            .map(|kind| json!({ "type": kind }))
            .collect();
        if self.cgroup.is_none() {
            // The helper is in the user's namespace and in the network already.
            return all.into();
        }
        all.push(json!({ "type": "cgroup" }));
        all.extend(self.network.as_ref().map(|path| json!({ "type": "network", "path": path })));
        all.into()
    }

    /// The one limit of its size that an ordinary user can set without a control group.
    fn process_limit(&self) -> Vec<Value> {
        if self.cgroup.is_some() || !super::userns::counts_processes() {
            return Vec::new();
        }
        // The helper, and who keeps the network, are in the user namespace too.
        let beside = 1 + i64::from(self.network.is_some());
        let most = self.size.limits().tasks_max + beside;
        vec![json!({ "type": "RLIMIT_NPROC", "soft": most, "hard": most })]
    }

    fn resources(&self) -> Value {
        let limits = self.size.limits();
        json!({
            "memory": { "limit": limits.memory_bytes_max },
            "cpu": { "shares": limits.cpu_shares },
            "pids": { "limit": limits.tasks_max },
            "devices": [{ "allow": false, "access": "rwm" }],
        })
    }
}

/// Whether something is mounted over this path of the container.
fn is_mounted(path: &Path) -> bool {
    let first = path.components().find_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let covered = ["app", "dev", "proc", "run", "sys", "tmp", "var"];
    first.is_none_or(|first| covered.contains(&first) || SYSTEM.contains(&first))
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// With everything that is mounted below.
fn read_only(source: &Path, destination: &Path) -> Value {
    let options = ["rbind", "rro", "rnosuid"];
    json!({
        "destination": destination, "type": "bind", "source": source, "options": options,
    })
}

/// A file for its owner only.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// The environment as it has to be within: the app's folder is `/app` and home, temporary files
/// have their usual place, and our own programs come first.
pub(super) fn environment(
    env: &[(String, String)],
    app_dir: &Path,
    run: &Path,
) -> Vec<(String, String)> {
    let translated = |(name, value): &(String, String)| match name.as_str() {
        "TMPDIR" => None,
        "HOME" => Some((name.clone(), APP.to_owned())),
        "PATH" => Some((name.clone(), search_path(value, app_dir, run))),
        _ => Some((name.clone(), value.clone())),
    };
    let mut within: Vec<(String, String)> = env.iter().filter_map(translated).collect();
    let mut add = |name: &str, value: String| {
        if !within.iter().any(|(present, _)| present == name) {
            within.push((name.to_owned(), value));
        }
    };
    add("HOME", APP.to_owned());
    // By this the sweep of leftovers knows whose it is.
    add(RunFolder::VARIABLE, run.display().to_string());
    within
}

fn search_path(path: &str, app_dir: &Path, run: &Path) -> String {
    let place = |folder: PathBuf| match folder.strip_prefix(app_dir) {
        _ if folder.starts_with(run) => None,
        Ok(inside) => Some(Path::new(APP).join(inside)),
        Err(_) => Some(folder),
    };
    let folders = std::env::split_paths(path).filter_map(place);
    let all: Vec<String> = std::iter::once(PathBuf::from(PROGRAMS))
        .chain(folders)
        .map(|folder| folder.display().to_string())
        .collect();
    all.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_their_places_within() {
        let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let env = [
            var("PATH", "/run/x/bin:/home/me/shop/.venv/bin:/usr/bin"),
            var("HOME", "/home/me"),
            var("TMPDIR", "/scratch"),
            var("DATABASE_URL", "postgres://a"),
        ];
        let within = environment(&env, Path::new("/home/me/shop"), Path::new("/run/x"));
        let expected = [
            var("PATH", "/.surgetank/bin:/app/.venv/bin:/usr/bin"),
            var("HOME", "/app"),
            var("DATABASE_URL", "postgres://a"),
            var(RunFolder::VARIABLE, "/run/x"),
        ];
        assert_eq!(within, expected);
    }

    #[test]
    fn a_link_leads_to_the_app_only_where_nothing_is_mounted() {
        assert!(!is_mounted(Path::new("/home/me/shop")));
        assert!(!is_mounted(Path::new("/work/shop")));
        for path in ["/", "/app", "/tmp/shop", "/usr/share/shop", "/opt/shop"] {
            assert!(is_mounted(Path::new(path)), "{path}");
        }
    }
}
