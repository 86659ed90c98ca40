//! Dynos as containers, as root and, in user namespaces, as an ordinary user. Where the system
//! cannot do it these say so loudly and do nothing.

use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use platform::postgres::RunFolder;
use platform::{ContainerOptions, DynoName, Isolation, RunOptions, RunOutcome, run};
use trace::DynoState;

use crate::app;
use crate::stage::{Stage, get, soon};

/// Containers of one test, and the folder of its run, which holds everything they leave.
pub(crate) struct Cage {
    options: Arc<ContainerOptions>,
    pub(crate) run: Arc<RunFolder>,
    _parent: tempfile::TempDir,
}

/// `None` where there are no containers; says why.
pub(crate) fn cage(change: impl FnOnce(&mut ContainerOptions)) -> Option<Cage> {
    let parent = tempfile::tempdir().expect("a temporary folder");
    cage_in(parent, change)
}

fn cage_in(parent: tempfile::TempDir, change: impl FnOnce(&mut ContainerOptions)) -> Option<Cage> {
    let run = Arc::new(RunFolder::create(parent.path()).expect("a run folder"));
    let helper = vec![env!("CARGO_BIN_EXE_dyno-helper").into(), "__dyno".into()];
    let mut options = ContainerOptions::new(Arc::clone(&run), helper);
    // The app under test is this very binary.
    options.binds.push(std::env::current_exe().expect("a test knows its own binary"));
    change(&mut options);
    let options = Arc::new(options);
    match options.check() {
        Ok(()) => Some(Cage { options, run, _parent: parent }),
        Err(why) => {
            // Past the test harness, which keeps what a passing test prints to itself.
            let _unheard = writeln!(std::io::stderr(), "SKIPPED, no containers here: {why}");
            None
        }
    }
}

impl Cage {
    pub(crate) fn isolation(&self) -> Isolation {
        Isolation::Container(Arc::clone(&self.options))
    }

    /// Whether there are control groups: not for an ordinary user.
    pub(crate) fn has_limits(&self) -> bool {
        self.options.has_limits()
    }
}

/// Runs these tests and those of [`crate::limits`] once more as an ordinary user.
#[test]
fn as_an_ordinary_user_too() {
    let told = |why: &str| {
        let _unheard = writeln!(std::io::stderr(), "SKIPPED, not as an ordinary user too: {why}");
    };
    if !is_root() {
        return told("it is one already");
    }
    let as_nobody = |program: &Path| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let program = std::env::current_exe().unwrap();
    let reached = as_nobody(&program).arg("--list").output();
    if !reached.is_ok_and(|output| output.status.success()) {
        return told("there is no setpriv, or nobody cannot run this program where it lies");
    }
    let output = as_nobody(&program)
        .args(["containers::", "limits::", "--skip", "as_an_ordinary_user_too"])
        .arg("--test-threads=2")
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let heard = String::from_utf8_lossy(&output.stdout);
    let skipped = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{heard}\n{skipped}");
    if let Some(line) = skipped.lines().find(|line| line.starts_with("SKIPPED")) {
        told(line);
    }
}

/// Whether this is root.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    })
}

/// Control groups of the dynos of this run.
fn cgroups_of(run: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("Linux");
    let places = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let places = places.filter(|fields| fields[2].starts_with("cgroup"));
    let places = places.map(|fields| Path::new(fields[1]).join(run));
    let groups = |place: PathBuf| std::fs::read_dir(place).into_iter().flatten().flatten();
    places.flat_map(groups).map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Processes whose environment names this run.
fn processes_of(run: &RunFolder) -> Vec<i32> {
    marked(&format!("{}={}", RunFolder::VARIABLE, run.path().display()))
}

/// Processes that have this in their environment.
fn marked(mark: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let mut environment = Vec::new();
            let file = std::fs::File::open(format!("/proc/{pid}/environ"));
            let _ended = file.and_then(|mut file| file.read_to_end(&mut environment));
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        })
        .collect()
}

async fn caged(cage: &Cage, procfile: &str, formation: &str) -> Stage {
    Stage::new(procfile, formation, |options| options.isolation = cage.isolation()).await
}

/// What a worker printed, without the platform's own lines.
fn said(stage: &Stage, dyno: &str) -> Vec<String> {
    let app = format!("app[{dyno}]: ");
    stage.lines(dyno).iter().filter_map(|line| Some(line.strip_prefix(&app)?.to_owned())).collect()
}

/// Nothing of this run is left: no process, no control group, no folder of a dyno.
pub(crate) async fn nothing_left(run: &RunFolder) {
    let folders = || std::fs::read_dir(run.path().join("dynos")).map_or(0, Iterator::count);
    let is_left =
        || !processes_of(run).is_empty() || !cgroups_of(&run.name()).is_empty() || folders() > 0;
    let gone = async {
        while is_left() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("processes, control groups and folders gone", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_sees_a_machine_of_its_own() {
    let Some(cage) = cage(|_| ()) else { return };
    let script = "echo name=$(hostname) first=$(cat /proc/1/comm); \
        echo home=$HOME here=$(pwd) processes=$(ls -d /proc/[0-9]*/exe | wc -l); \
        echo network=$(ls /sys/class/net); \
        touch /usr/x /etc/x 2>/dev/null || echo system=read-only; \
        touch mine && echo app=writable; \
        echo hidden=$(ls .surgetank); echo shadow=$(wc -c < /etc/shadow); \
        touch /tmp/here && test ! -e $OUTSIDE && echo tmp=own; \
        echo $(grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status); \
        unshare --user true 2>/dev/null || echo namespaces=none; \
        mount -t tmpfs none /mnt 2>/dev/null || echo mounts=none; \
        mknod /tmp/disk b 7 0 2>/dev/null || echo devices=none; \
        yes 2>/dev/null | true; echo pipe=${PIPESTATUS[0]}; \
        echo finis$((1)); exec sleep 1000";
    let outside = tempfile::NamedTempFile::new().unwrap();
    let script = script.replace("$OUTSIDE", &outside.path().display().to_string());
    let stage = caged(&cage, &format!("worker: {script}"), "worker=0").await;
    std::fs::create_dir(stage.dir.path().join(".surgetank")).unwrap();
    std::fs::write(stage.dir.path().join(".surgetank/secret"), "x").unwrap();
    stage.dynos.scale("worker=1").await.unwrap();
    stage.line("app[worker.1]: finis1").await;
    let expected = [
        "name=worker.1 first=init",
        // The shell, `ls` and its `wc`, the shell between, and PID 1.
        "home=/app here=/app",
        "network=lo",
        "system=read-only",
        "app=writable",
        "hidden=",
        "shadow=0",
        "tmp=own",
        "CapEff: 00000000000004fb NoNewPrivs: 1 Seccomp: 2",
        "namespaces=none",
        "mounts=none",
        "devices=none",
        // By SIGPIPE, as in any shell.
        "pipe=141",
        "finis1",
    ];
    let said = said(&stage, "worker.1");
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} is not {expected}");
    }
    // What it wrote is its own, and goes with it.
    assert!(!stage.dir.path().join("mine").exists());
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_dynos_listen_on_one_port_and_the_router_reaches_each() {
    let Some(cage) = cage(|_| ()) else { return };
    let stage = caged(&cage, &format!("web: {}", app::command("good")), "web=2").await;
    stage.until("web.1", DynoState::Up).await;
    stage.until("web.2", DynoState::Up).await;
    let dynos = stage.dynos.ps();
    assert_eq!(dynos[0].port, dynos[1].port);
    let router = stage.router(|_| ()).await;
    let mut served = std::collections::BTreeSet::new();
    while served.len() < 2 {
        let answer = get(router.address(), "/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        served.insert(answer.rsplit("\r\n").next().unwrap().to_owned());
    }
    assert_eq!(served.into_iter().collect::<Vec<_>>(), ["web.1", "web.2"]);
    // Whoever listens there on this machine's own loopback, if anybody does, it is no dyno.
    let outside = SocketAddr::from(([127, 0, 0, 1], dynos[0].port.unwrap()));
    if tokio::net::TcpStream::connect(outside).await.is_ok() {
        let answer = get(outside, "/").await;
        assert!(!answer.contains("X-App: yes"), "{answer}");
    }
    router.shutdown(Duration::from_secs(1)).await;
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_dyno_finds_its_own_service_at_the_same_address() {
    let served = |options: &mut ContainerOptions| {
        let serve: platform::ServePort = Arc::new(|dyno, listener| {
            let name = dyno.to_string();
            std::thread::spawn(move || {
                // Until the dyno has read it; the next one has a listener of its own.
                let (mut stream, _) = listener.accept().expect("the dyno connects");
                let _read = stream.write_all(format!("you are {name}\n").as_bytes());
            });
            Ok(Box::new(()))
        });
        options.ports.push((5432, serve));
    };
    let Some(cage) = cage(|_| ()) else { return };
    let mut options = ContainerOptions::new(Arc::clone(&cage.run), cage.options.helper.clone());
    served(&mut options);
    let isolation = Isolation::Container(Arc::new(options));
    let procfile = "worker: cat < /dev/tcp/127.0.0.1/5432; exec sleep 1000";
    let stage =
        Stage::new(procfile, "worker=2", |options| options.isolation = isolation.clone()).await;
    stage.line("app[worker.1]: you are worker.1").await;
    stage.line("app[worker.2]: you are worker.2").await;
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_reaches_every_process_and_none_is_left() {
    let Some(cage) = cage(|_| ()) else { return };
    // A child in a session of its own, which no process group would find.
    let procfile = "worker: setsid bash -c 'trap \"echo child; exit\" TERM; echo child ready; \
                    while :; do sleep 0.01; done' & trap 'echo parent; exit 7' TERM; \
                    echo parent ready; while :; do sleep 0.01; done";
    let stage = caged(&cage, procfile, "worker=1").await;
    stage.line("app[worker.1]: child ready").await;
    stage.line("app[worker.1]: parent ready").await;
    stage.dynos.shutdown().await;
    let mut said = said(&stage, "worker.1");
    // What bash says of its `sleep`.
    said.retain(|line| !line.contains("Terminated"));
    said.sort();
    assert_eq!(said, ["child", "child ready", "parent", "parent ready"]);
    stage.line("Process exited with status 7").await;
    assert!(!stage.lines("worker.1").iter().any(|line| line.contains("R12")));
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_ignores_sigterm_or_forks_away_is_killed() {
    let Some(cage) = cage(|_| ()) else { return };
    let procfile = "worker: trap '' TERM; setsid sleep 1000 & (setsid sleep 1000 &); \
                    echo deaf; while :; do sleep 0.1; done";
    let stage = Stage::new(procfile, "worker=1", |options| {
        options.isolation = cage.isolation();
        options.timing.exit_timeout = Duration::from_millis(300);
    })
    .await;
    stage.line("app[worker.1]: deaf").await;
    // Its helper, its PID 1, the shell, and the two that forked away.
    let five = async {
        while processes_of(&cage.run).len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("five processes", five).await;
    soon("the end", stage.dynos.stop(&DynoName::new("worker", 1))).await.unwrap();
    stage.line("Error R12 (Exit timeout)").await;
    stage.line("Process exited with status 137").await;
    nothing_left(&cage.run).await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_ends_what_the_command_left_behind() {
    let Some(cage) = cage(|_| ()) else { return };
    let stage = Stage::new("worker: setsid sleep 1000 & echo off; exit 3", "worker=1", |options| {
        options.isolation = cage.isolation();
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await;
    stage.line("Restarting in 1000s after 2 crashes").await;
    stage.line("Process exited with status 3").await;
    nothing_left(&cage.run).await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_dyno_that_never_listens_or_does_not_exist_is_told() {
    let Some(cage) = cage(|_| ()) else { return };
    let procfile = "web: sleep 1000\nworker: no-such-program";
    let stage = Stage::new(procfile, "web=1,worker=1", |options| {
        options.isolation = cage.isolation();
        options.timing.boot_timeout = Duration::from_millis(300);
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await;
    stage.line("heroku[web.1]: Error R10 (Boot timeout)").await;
    stage.line("heroku[web.1]: Process exited with status 137").await;
    stage.line("heroku[worker.1]: Process exited with status 127").await;
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_within_the_dynos_own_container() {
    let Some(cage) = cage(|_| ()) else { return };
    let procfile = "worker: echo $DYNO > mark; echo ready; exec sleep 1000";
    let stage = caged(&cage, procfile, "worker=2").await;
    stage.line("app[worker.1]: ready").await;
    stage.line("app[worker.2]: ready").await;
    let names = [DynoName::new("worker", 1), DynoName::new("worker", 2)];
    // It sees what only this dyno wrote, and its processes; its limits hold.
    let command = "cat mark; hostname; cat /proc/1/comm; cd /sys/fs/cgroup; \
                   cat memory/memory.limit_in_bytes memory.max 2>/dev/null; exit 4";
    let results = run(&stage.dynos, &names, command, &RunOptions::default()).await.unwrap();
    let twice_the_quota = if cage.has_limits() { "1073741824\n" } else { "" };
    for (result, name) in results.iter().zip(&names) {
        assert_eq!(result.stdout, format!("{name}\n{name}\ninit\n{twice_the_quota}"));
        assert_eq!(result.outcome, RunOutcome::Exited(4));
    }
    // One that does not end is killed with all it started, and the dyno lives on.
    let options = RunOptions { timeout: Duration::from_millis(500), ..RunOptions::default() };
    let command = "sleep 1001 & sleep 1001";
    let results = run(&stage.dynos, &names[..1], command, &options).await.unwrap();
    assert_eq!(results[0].outcome, RunOutcome::TimedOut);
    let over = async {
        while !sleepers("1001", &cage.run).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the command's processes gone", over).await;
    let two = async {
        while sleepers("1000", &cage.run).len() != 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("both dynos", two).await;
    stage.dynos.shutdown().await;
    nothing_left(&cage.run).await;
}

/// Processes of this run that sleep so long.
fn sleepers(seconds: &str, run: &RunFolder) -> Vec<i32> {
    let line = format!("sleep\0{seconds}\0");
    let sleeps = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default() == line.as_bytes()
    };
    processes_of(run).into_iter().filter(sleeps).collect()
}

/// No test of its own: with `HOST_IN` set, this process has six dynos and waits to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_six_when_asked_to() {
    let Some(parent) = std::env::var_os("HOST_IN") else { return };
    let parent = tempfile::tempdir_in(parent).unwrap();
    let Some(cage) = cage_in(parent, |_| ()) else { return };
    let procfile = "worker: setsid sleep 1000 & echo ready; exec sleep 1000";
    let stage = Stage::new(procfile, "worker=6", |options| {
        options.isolation = cage.isolation();
        let run = Arc::clone(&cage.run);
        options.child_pid = Arc::new(move |_, change| {
            if let platform::ChildChange::Started(pid) = change {
                run.note_child(u32::try_from(pid).unwrap()).unwrap();
            }
        });
    })
    .await;
    for number in 1..=6 {
        stage.line(&format!("app[worker.{number}]: ready")).await;
    }
    println!("run {}", cage.run.path().display());
    std::future::pending::<()>().await;
}

/// The process that is killed, also when the test fails; what it leaves is then removed too.
struct Host {
    process: std::process::Child,
    parent: Option<PathBuf>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have been killed and swept already.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
        let _swept = self.parent.as_deref().map(platform::postgres::sweep_leftovers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_platform_leaves_nothing_that_the_next_start_does_not_remove() {
    let Some(cage) = cage(|_| ()) else { return };
    let has_limits = cage.has_limits();
    drop(cage);
    let outer = tempfile::tempdir().unwrap();
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "containers::hosts_six_when_asked_to", "--nocapture"])
        .env("HOST_IN", outer.path())
        .env("TMPDIR", outer.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = host.stdout.take().unwrap();
    let mut host = Host { process: host, parent: None };
    let mut lines = std::io::BufReader::new(output).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("run /")).unwrap();
    let (_, folder) = line.split_once("run /").unwrap();
    let folder = Path::new("/").join(folder);
    host.parent = folder.parent().map(Path::to_owned);
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let mark = format!("{}={}", RunFolder::VARIABLE, folder.display());
    // Twelve sleepers, six times PID 1 and its helper, and, for an ordinary user, six who keep a
    // network; some are still about to become sleepers.
    let all = if has_limits { 24 } else { 30 };
    let all_there = async {
        while marked(&mark).len() < all {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("all processes", all_there).await;
    assert_eq!(cgroups_of(&name).is_empty(), !has_limits);
    host.process.kill().unwrap();
    host.process.wait().unwrap();
    let gone = async {
        while !marked(&mark).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("all processes gone by themselves", gone).await;
    let parent = folder.parent().unwrap().to_owned();
    let swept = tokio::task::spawn_blocking(move || platform::postgres::sweep_leftovers(&parent));
    assert_eq!(swept.await.unwrap().len(), 1);
    assert!(!folder.exists());
    assert!(cgroups_of(&name).is_empty());
    let parents = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!parents.contains(&name), "a mount is left");
}
