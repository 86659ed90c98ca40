//! Dynos as containers. As an ordinary user, or where the system cannot do it, these say so loudly
//! and do nothing.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platform::postgres::RunFolder;
use platform::{ContainerOptions, DynoName, Isolation, RunOptions, RunOutcome, run};
use trace::DynoState;

use crate::app;
use crate::stage::{Stage, get, soon};

/// Containers of one test, and the folder of its run, which holds everything they leave.
struct Cage {
    options: Arc<ContainerOptions>,
    run: Arc<RunFolder>,
    _parent: tempfile::TempDir,
}

/// `None` where there are no containers; says why.
fn cage(change: impl FnOnce(&mut ContainerOptions)) -> Option<Cage> {
    let parent = tempfile::tempdir().unwrap();
    let run = Arc::new(RunFolder::create(parent.path()).unwrap());
    let helper = vec![env!("CARGO_BIN_EXE_dyno-helper").into()];
    let mut options = ContainerOptions::new(Arc::clone(&run), helper);
    // The app under test is this very binary.
    options.binds.push(std::env::current_exe().unwrap());
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
    fn isolation(&self) -> Isolation {
        Isolation::Container(Arc::clone(&self.options))
    }

    /// Control groups that bear the name of this run.
    fn cgroups(&self) -> Vec<PathBuf> {
        cgroups_of(&self.run.name())
    }
}

fn cgroups_of(run: &str) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let places = mounts.lines().filter(|line| line.starts_with("cgroup"));
    let places = places.filter_map(|line| line.split(' ').nth(1)).map(|at| Path::new(at).join(run));
    places.filter(|path| path.exists()).collect()
}

/// Processes whose environment names this run.
fn processes_of(run: &RunFolder) -> Vec<i32> {
    let mark = format!("{}={}", RunFolder::VARIABLE, run.path().display());
    let all = std::fs::read_dir("/proc").unwrap().flatten();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_sees_a_machine_of_its_own() {
    let Some(cage) = cage(|_| ()) else { return };
    let script = "hostname; echo pid1=$(cat /proc/1/comm); echo home=$HOME cwd=$(pwd); \
        ls -d /proc/[0-9]* | wc -l; ls /sys/class/net; touch /usr/x; touch written && echo wrote; \
        grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; echo .surgetank: $(ls .surgetank); \
        head -c 1 /proc/kcore | wc -c; cat /etc/shadow | wc -c; touch /tmp/mine; ls /tmp; \
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes; mount | grep -c ' / '; echo finis$((1)); \
        exec sleep 1000";
    let stage = caged(&cage, &format!("worker: {script}"), "worker=0").await;
    std::fs::create_dir(stage.dir.path().join(".surgetank")).unwrap();
    std::fs::write(stage.dir.path().join(".surgetank/secret"), "x").unwrap();
    stage.dynos.scale("worker=1").await.unwrap();
    stage.line("finis1").await;
    for line in stage.lines("worker.1") {
        println!("{line}");
    }
    stage.dynos.shutdown().await;
    for line in stage.lines("worker.1") {
        println!("{line}");
    }
    panic!();
}
