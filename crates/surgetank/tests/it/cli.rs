//! The command line as a user meets it: help, wrong words, exit codes.

use std::process::{Command, Output};

pub(crate) fn surgetank(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surgetank"));
    command.args(words);
    command
}

fn output(words: &[&str]) -> Output {
    surgetank(words).output().expect("the binary runs")
}

fn code(words: &[&str]) -> Option<i32> {
    output(words).status.code()
}

fn stderr(words: &[&str]) -> String {
    String::from_utf8_lossy(&output(words).stderr).into_owned()
}

#[test]
fn help_names_every_command_and_is_a_good_end() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8_lossy(&help.stdout);
    let commands = [
        "demo",
        "up",
        "proxy",
        "ps",
        "ps:scale",
        "ps:restart",
        "run",
        "logs",
        "record",
        "diagnose",
        "report",
        "load",
        "storefront",
        "completion",
        "man",
    ];
    for command in commands {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not in:\n{text}");
    }
}

#[test]
fn wrong_words_end_with_2_and_say_which() {
    let cases: &[(&[&str], &str)] = &[
        (&["dmeo"], "demo"),
        (&["demo", "--seconds", "5"], "5 is not in 60..=3600"),
        (&["demo", "--without", "coffee"], "coffee"),
        (&["proxy", "--limit", "0", "postgres://localhost/x"], "0"),
        (&["load", "run", "m.json", "--target", "http://127.0.0.1:1", "--rate", "fast"], "fast"),
        (&["run", "--dyno", "web", "--", "true"], "web"),
        (&["up", "--env", "NAME"], "NAME=VALUE"),
    ];
    for (words, expected) in cases {
        assert_eq!(code(words), Some(2), "{words:?}");
        let told = stderr(words);
        assert!(told.contains(expected), "{words:?} says:\n{told}");
    }
}

#[test]
fn what_is_missing_is_said_with_69() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for words in [&["ps"][..], &["logs"], &["diagnose"]] {
        let output = surgetank(words).current_dir(folder.path()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(69), "{words:?}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("surgetank up"), "{words:?} says what to do: {told}");
    }
}

#[test]
fn a_machine_without_postgresql_is_told_what_to_type() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let demo = surgetank(&["demo", "--pg-bin", "/nonexistent"])
        .current_dir(empty.path())
        .output()
        .expect("it runs");
    assert_eq!(demo.status.code(), Some(69), "{demo:?}");
    let told = String::from_utf8_lossy(&demo.stderr).into_owned();
    assert!(told.contains("/nonexistent"), "{told}");
    let left = std::fs::read_dir(empty.path()).expect("readable").count();
    assert_eq!(left, 0, "nothing is left behind in the folder");
}

#[test]
fn a_report_that_cannot_be_written_is_found_out_first() {
    let told = stderr(&["demo", "--report", "/nonexistent/report.html"]);
    assert!(told.contains("--report /nonexistent/report.html"), "{told}");
}

#[test]
fn a_proxy_without_a_password_stays_on_loopback() {
    let words =
        ["proxy", "postgres://app@127.0.0.1:1/app", "--listen", "0.0.0.0:0", "--mode", "regulate"];
    let told = stderr(&words);
    assert!(told.contains("listen on 127.0.0.1"), "{told}");
}

#[test]
fn completions_and_the_man_page_are_printed() {
    for words in [&["completion", "bash"][..], &["completion", "zsh"], &["man"]] {
        let output = output(words);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("surgetank"), "{words:?}");
    }
}

#[test]
fn a_file_needs_no_database_where_the_environment_gives_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("x.toml"), "limit = 7\n").expect("a file");
    std::fs::write(path("x.ini"), "[databases]\n[pgbouncer]\ndefault_pool_size = 7\n")
        .expect("a file");
    for file in [path("x.toml"), path("x.ini")] {
        let words = ["check-config", &file];
        assert_eq!(code(&words), Some(1), "{file}");
        assert!(stderr(&words).contains("none"), "{}", stderr(&words));
        let given = surgetank(&words)
            .env("DATABASE_URL", "postgres://ann:secret@db.internal/shop")
            .output()
            .expect("the binary runs");
        let told = String::from_utf8_lossy(&given.stdout).into_owned();
        assert!(given.status.success(), "{file}: {told}");
        assert!(told.contains("database *: db.internal:5432 as ann"), "{told}");
        assert!(told.contains("default_pool_size = 7") && !told.contains("secret"), "{told}");
    }
}

#[test]
fn clients_and_metrics_have_ports_of_their_own() {
    let one = ["--listen", "127.0.0.1:7000", "--metrics", "7000"];
    let words = [&["proxy", "postgres://app:x@127.0.0.1:1/app"][..], &one].concat();
    assert!(stderr(&words).contains("127.0.0.1:7000 is for clients and for metrics"));
    assert!(stderr(&["proxy", "x", "--metrics", "nowhere"]).contains("write ADDR:PORT"));
}
