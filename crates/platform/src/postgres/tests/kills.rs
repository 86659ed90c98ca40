//! What happens when the owner is killed, and when it is an ordinary user: this test binary run
//! again as another process. Such a test plays both roles; a variable says which.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::Uid;

use super::clusters::{ask, options, postmaster};
use super::{binaries, names};
use crate::postgres::process::{Stamp, wait_until};
use crate::postgres::{Cluster, RunFolder, sweep_leftovers};

/// Set for the child: the folder in which it is to put its run folder.
const ROLE: &str = "SURGETANK_TEST_PARENT_DIR";

const LIMIT: Duration = Duration::from_secs(30);

/// A temp folder is private to us; as root, the server runs as somebody else.
pub(super) fn open_to_the_server(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o711)).expect("it is ours");
}

/// The folder that this process is to use, if it is a child of the test.
fn child_role() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// This binary again, to play the other role of `test`.
fn play(program: &Path, test: &str, parent: &Path) -> Command {
    let mut command = Command::new(program);
    command.args([&format!("postgres::tests::kills::{test}"), "--exact", "--nocapture"]);
    command.env(ROLE, parent).env("SURGETANK_PG_BIN", binaries().folder());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What the child says after `word` on a line of its own.
fn hear(child: &mut Child, word: &str) -> String {
    let output = child.stdout.as_mut().expect("it is piped");
    BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once(word)?.1.trim().to_owned()))
        .unwrap_or_else(|| panic!("the child ended without saying {word}"))
}

/// Owns a cluster until killed.
async fn own_a_cluster(parent: &Path) {
    let cluster = Cluster::start(&binaries(), options(parent)).await.unwrap();
    println!("\npostmaster: {}", postmaster(&cluster));
    std::future::pending::<()>().await;
}

fn kill_the_owner(child: &mut Child) {
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

#[tokio::test]
async fn the_kernel_stops_the_server_of_a_killed_owner() {
    if let Some(parent) = child_role() {
        return own_a_cluster(&parent).await;
    }
    if !cfg!(target_os = "linux") || !has_setpriv() {
        println!("this system has no parent-death signal: the next test is about that");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    open_to_the_server(parent.path());
    let test = "the_kernel_stops_the_server_of_a_killed_owner";
    let mut child = play(&std::env::current_exe().unwrap(), test, parent.path()).spawn().unwrap();
    let server = Stamp::parse(&hear(&mut child, "postmaster:")).unwrap();
    assert!(server.is_alive());
    assert_eq!(sweep_leftovers(parent.path()), [], "its owner lives");
    kill_the_owner(&mut child);
    assert!(wait_until(LIMIT, || !server.is_alive()), "the server outlives its owner");
    let swept = sweep_leftovers(parent.path());
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].stopped, Vec::<i32>::new());
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

fn has_setpriv() -> bool {
    Command::new("setpriv")
        .args(["--pdeathsig", "QUIT", "--", "true"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn the_next_start_stops_the_server_of_a_killed_owner() {
    if let Some(parent) = child_role() {
        return own_a_cluster(&parent).await;
    }
    let parent = tempfile::tempdir().unwrap();
    open_to_the_server(parent.path());
    let test = "the_next_start_stops_the_server_of_a_killed_owner";
    // Without a PATH there is no setpriv, and so no signal from the kernel.
    let program = std::env::current_exe().unwrap();
    let mut child = play(&program, test, parent.path()).env("PATH", "").spawn().unwrap();
    let server = Stamp::parse(&hear(&mut child, "postmaster:")).unwrap();
    kill_the_owner(&mut child);
    assert!(server.is_alive(), "nobody has stopped it yet");
    let swept = sweep_leftovers(parent.path());
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].stopped, [server.pid()]);
    assert!(!server.is_alive());
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[test]
fn the_next_start_ends_noted_groups_and_marked_orphans() {
    if let Some(parent) = child_role() {
        let folder = RunFolder::create(&parent).unwrap();
        let mut noted = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        folder.note_child(noted.id()).unwrap();
        // Its shell ends; what it started goes on, in a group without a leader. It tells its pid
        // itself: while a process is being started, its environment cannot be read.
        let script = "cd $SURGETANK_RUN_FOLDER; mkfifo told never; \
                      sh -c 'echo $$ > told; read line < never' & \
                      read pid < told; echo $pid > orphan";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .env(RunFolder::VARIABLE, folder.path())
            .process_group(0)
            .spawn()
            .unwrap();
        shell.wait().unwrap();
        let orphan = fs::read_to_string(folder.path().join("orphan")).unwrap();
        println!("\nchildren: {} {}", noted.id(), orphan.trim());
        // Longer than the test lasts.
        noted.wait().unwrap();
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let test = "the_next_start_ends_noted_groups_and_marked_orphans";
    let mut child = play(&std::env::current_exe().unwrap(), test, parent.path()).spawn().unwrap();
    let said = hear(&mut child, "children:");
    let mut pids: Vec<i32> = said.split(' ').map(|pid| pid.parse().unwrap()).collect();
    kill_the_owner(&mut child);
    assert!(pids.iter().all(|pid| Stamp::of(*pid).is_some()));
    let swept = sweep_leftovers(parent.path());
    assert_eq!(swept.len(), 1);
    pids.sort_unstable();
    assert_eq!(swept[0].stopped, pids);
    assert!(pids.iter().all(|pid| Stamp::of(*pid).is_none()));
    assert_eq!(names(parent.path()), Vec::<String>::new());
}

#[test]
fn a_folder_that_is_not_yet_described_belongs_to_the_pid_in_its_name() {
    let parent = tempfile::tempdir().unwrap();
    let living = parent.path().join(format!("surgetank-{}-0a", std::process::id()));
    fs::create_dir(&living).unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let abandoned = parent.path().join(format!("surgetank-{}-0b", dead.id()));
    fs::create_dir(&abandoned).unwrap();
    let foreign = parent.path().join("surgetank-notes");
    fs::create_dir(&foreign).unwrap();
    let swept = sweep_leftovers(parent.path());
    assert_eq!(swept.len(), 1);
    assert!(living.exists() && foreign.exists() && !abandoned.exists());
}

#[tokio::test]
async fn an_ordinary_user_needs_no_other_user() {
    if let Some(parent) = child_role() {
        assert!(!Uid::effective().is_root());
        let cluster = Cluster::start(&binaries(), options(&parent)).await.unwrap();
        let url = cluster.address().socket_url("postgres", "postgres");
        println!("\nanswer: {}", ask(&cluster, &url, "SELECT 6 * 7"));
        return cluster.stop().await;
    }
    if !Uid::effective().is_root() {
        // All other tests have been about this.
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o1777)).unwrap();
    // The folder that this binary is in may be closed to others.
    let program = parent.path().join("test");
    let mut install = Command::new("install");
    install.arg(std::env::current_exe().unwrap()).arg(&program);
    assert!(install.status().unwrap().success());
    let mut child = play(&program, "an_ordinary_user_needs_no_other_user", parent.path())
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .spawn()
        .unwrap();
    assert_eq!(hear(&mut child, "answer:"), "42");
    assert!(child.wait().unwrap().success());
    assert_eq!(names(parent.path()), ["test"]);
}
