//! psql and pgbench through both modes.

use std::path::PathBuf;
use std::process::Stdio;

use proxy::Mode;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trace::Outcome;

use crate::harness::{Fixture, MODES, limit};

/// A program of the PostgreSQL that the test uses; not every installation has all of them.
fn program(fixture: &Fixture, name: &str) -> Option<PathBuf> {
    let path = fixture.postgres.cluster().bin(name);
    path.exists().then_some(path)
}

/// Runs a program and gives what it printed.
async fn run(program: PathBuf, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("PGOPTIONS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("the program runs");
    stdin.write_all(input.as_bytes()).await.expect("the program runs");
    drop(stdin);
    let output = child.wait_with_output().await.expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text} {errors}");
    text
}

#[tokio::test]
async fn psql() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let Some(psql) = program(&fixture, "psql") else { return };
        let script = "CREATE TABLE t (n int, word text);\n\
            \\copy t FROM STDIN\n1\tone\n2\ttwo\n\\.\n\
            BEGIN; INSERT INTO t VALUES (3, 'three'); ROLLBACK;\n\
            SELECT string_agg(word, ',' ORDER BY n) FROM t;\n\
            \\d t\n\
            SELECT 1/0;\n\
            PREPARE p AS SELECT count(*) FROM t; EXECUTE p;\n\
            \\copy t TO STDOUT\n";
        let printed = run(psql, &["-X", "-A", "-t", &fixture.url()], script).await;
        for expected in ["COPY 2", "one,two", "word|text", "\n2\n", "1\tone\n2\ttwo"] {
            assert!(printed.contains(expected), "{expected:?} is not in {printed}");
        }
        fixture.end().await;
    }
}

#[tokio::test]
async fn psql_listens() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(1)).await;
        let Some(psql) = program(&fixture, "psql") else { return };
        // psql looks for notifications after each command.
        let script = "LISTEN \"Orders\";\nNOTIFY \"Orders\", 'number 5';\n\
            SELECT pg_sleep(0.3);\nSELECT 'last';\nUNLISTEN *;\n";
        let printed = run(psql, &["-X", "-A", "-t", &fixture.url()], script).await;
        let expected = "Asynchronous notification \"Orders\" with payload \"number 5\" received";
        assert!(printed.contains(expected), "{mode:?}: {printed}");
        fixture.end().await;
    }
}

#[tokio::test]
async fn pgbench_in_all_query_modes() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(3)).await;
        let Some(pgbench) = program(&fixture, "pgbench") else { return };
        let url = fixture.url();
        run(pgbench.clone(), &["-i", "-q", "-s", "1", &url], "").await;
        for protocol in ["simple", "extended", "prepared"] {
            for script in ["select-only", "tpcb-like"] {
                // A thread for each client: pgbench prepares synchronously, so that a client that
                // waits would keep others of its thread from ending their transactions.
                let arguments =
                    ["-n", "-b", script, "-M", protocol, "-c", "8", "-j", "8", "-t", "40", &url];
                let printed = run(pgbench.clone(), &arguments, "").await;
                let expected = "number of transactions actually processed: 320/320";
                assert!(printed.contains(expected), "{mode:?} {protocol}: {printed}");
            }
        }
        let requests = fixture.requests();
        assert!(requests.iter().all(|request| request.outcome == Outcome::Ok));
        // Three protocols, 8 clients, 40 transactions of 1 and of 7 statements.
        assert!(requests.len() >= 3 * 8 * 40 * 8, "{}", requests.len());
        if mode == Mode::Regulate {
            let pinned = fixture
                .all_events()
                .iter()
                .any(|event| matches!(event, trace::Event::SessionPinned { .. }));
            assert!(!pinned);
        }
        fixture.end().await;
    }
}
