//! The rules of the house, checked: arrows between rooms, sizes, module docs, dead exceptions.
//!
//! A rule that only people know is forgotten; a rule that fails a test is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Most production lines (up to the first `#[cfg(test)] mod`) of a source file.
const FILE_LINES_MAX: usize = 400;
/// Most lines of code of one function, comments and blank lines left out.
const FUNCTION_LINES_MAX: usize = 70;
/// Most columns of a line.
const COLUMNS_MAX: usize = 100;
/// A file longer than this must say what it is for.
const DOC_FROM_LINES: usize = 60;
/// Largest file that may enter the repository.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Files that break a rule, each with its reason. An entry that is no longer needed fails the test,
/// so that the list can only shrink.
const EXCEPTIONS: &[(&str, Rule, &str)] = &[];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    FileLength,
    FunctionLength,
    Columns,
    ModuleDoc,
    Fixme,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root")
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a readable folder");
    for entry in entries.map(|entry| entry.expect("a readable entry")) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    for folder in ["crates", "examples", "bench"] {
        let folder = root.join(folder);
        if folder.is_dir() {
            files_below(&folder, &mut paths);
        }
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&root).expect("below").display().to_string();
    paths.iter().map(|p| (name(p), fs::read_to_string(p).expect("UTF-8 source"))).collect()
}

/// The lines before the tests.
fn production(source: &str) -> impl Iterator<Item = &str> {
    let mut lines = source.lines().peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let next_is_mod = lines.peek().is_some_and(|next| next.trim_start().starts_with("mod "));
        (!(line.starts_with("#[cfg(test)]") && next_is_mod)).then_some(line)
    })
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// The longest function, as rustfmt lays it out: from the line with `fn` to the closing brace in
/// the same column.
fn longest_function(source: &str) -> (usize, String) {
    let lines: Vec<&str> = source.lines().collect();
    let mut longest = (0, String::new());
    for (start, line) in lines.iter().enumerate() {
        let text = line.trim_start();
        let Some(name) = function_name(text) else { continue };
        let close = format!("{}}}", &line[..line.len() - text.len()]);
        let body = lines[start..].iter().take_while(|line| ***line != *close);
        let open = lines[start..].iter().find(|l| l.ends_with('{') || l.ends_with(';'));
        if open.is_none_or(|line| line.ends_with(';')) {
            continue;
        }
        let length = body.filter(|line| is_code(line)).count() - 1;
        if length > longest.0 {
            longest = (length, name.to_owned());
        }
    }
    longest
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

#[test]
fn sources_keep_the_rules() {
    let mut broken: BTreeMap<(String, Rule), String> = BTreeMap::new();
    for (file, source) in sources() {
        let mut report = |rule, what: String| {
            broken.insert((file.clone(), rule), what);
        };
        let length = production(&source).count();
        let is_test = file.contains("/tests/") || file.ends_with("/tests.rs");
        if length > FILE_LINES_MAX && !is_test {
            report(
                Rule::FileLength,
                format!("{length} production lines, at most {FILE_LINES_MAX}"),
            );
        }
        let (lines, name) = longest_function(&source);
        if lines > FUNCTION_LINES_MAX {
            report(Rule::FunctionLength, format!("fn {name} has {lines} lines of code"));
        }
        if let Some(at) = source.lines().position(|line| line.chars().count() > COLUMNS_MAX) {
            report(Rule::Columns, format!("line {} is over {COLUMNS_MAX} columns", at + 1));
        }
        if length > DOC_FROM_LINES && !is_test && !source.starts_with("//!") {
            report(Rule::ModuleDoc, "does not say what it is for (`//!`)".into());
        }
        // Written in two parts, so that this file keeps its own rule.
        if source.contains(concat!("FIX", "ME")) || source.contains(concat!("TO", "DO:")) {
            report(Rule::Fixme, "open ends belong into an issue".into());
        }
    }
    for (file, rule, reason) in EXCEPTIONS {
        let needed = broken.remove(&((*file).to_owned(), *rule)).is_some();
        assert!(needed, "exception no longer needed: {file} {rule:?} ({reason})");
    }
    let list: Vec<String> =
        broken.iter().map(|((f, r), what)| format!("{f}: {r:?}: {what}")).collect();
    assert!(list.is_empty(), "{} rules broken:\n{}", list.len(), list.join("\n"));
}

/// The table of ARCHITECTURE.md: room → rooms it may use.
fn arrows_allowed(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let table = architecture
        .split("<!-- arrows -->")
        .nth(1)
        .expect("ARCHITECTURE.md has the arrow table between two `<!-- arrows -->` marks");
    let mut allowed = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let room = cells[1].trim_matches('`').to_owned();
        let may_use = cells.last().map_or("", |_| cells[cells.len() - 2]);
        let rooms = may_use.split(',').map(|room| room.trim().trim_matches('`').to_owned());
        allowed.insert(room, rooms.filter(|room| !room.is_empty() && room != "–").collect());
    }
    allowed
}

fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let header = format!("[{section}]");
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines.filter(|line| !line.trim().is_empty()).map(name).collect()
}

#[test]
fn arrows_are_those_of_the_architecture() {
    let root = root();
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let allowed = arrows_allowed(&architecture);
    let rooms: BTreeSet<String> = allowed.keys().cloned().collect();
    let folders: BTreeSet<String> = fs::read_dir(root.join("crates"))
        .expect("crates/")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .chain(["storefront".to_owned()])
        .collect();
    assert_eq!(rooms, folders, "the arrow table of ARCHITECTURE.md lists the rooms that there are");
    for (room, may_use) in &allowed {
        let folder = if room == "storefront" { "examples" } else { "crates" };
        let path = root.join(folder).join(room).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).expect("a manifest");
        let uses: BTreeSet<String> =
            dependencies(&manifest, "dependencies").intersection(&rooms).cloned().collect();
        let everything = may_use.contains("all");
        let forbidden: Vec<&String> =
            uses.iter().filter(|used| !everything && !may_use.contains(*used)).collect();
        assert!(
            forbidden.is_empty(),
            "{room} uses {forbidden:?}: an arrow the table does not draw"
        );
        assert!(!uses.contains("testkit"), "{room}: testkit is a dev-dependency only");
        let unused: Vec<&String> =
            may_use.iter().filter(|used| *used != "all" && !uses.contains(*used)).collect();
        assert!(
            unused.is_empty(),
            "{room} no longer uses {unused:?}: take the arrow off the table"
        );
        assert!(manifest.contains("[lints]\nworkspace = true"), "{room} inherits the lints");
    }
}

#[test]
fn every_dependency_has_its_line() {
    let root = root();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let note = fs::read_to_string(root.join("docs/design/001-dependencies.md")).expect("the note");
    let rooms: BTreeSet<String> =
        arrows_allowed(&fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md"))
            .into_keys()
            .collect();
    let all = dependencies(&manifest, "workspace.dependencies");
    let external = all.iter().filter(|name| !name.starts_with('#') && !rooms.contains(*name));
    let missing: Vec<&String> =
        external.filter(|name| !note.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/design/001-dependencies.md has no line for {missing:?}");
}

#[test]
fn design_notes_are_in_the_index() {
    let folder = root().join("docs/design");
    let index = fs::read_to_string(folder.join("README.md")).expect("docs/design/README.md");
    for entry in fs::read_dir(&folder).expect("docs/design") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&name), "{name} is not in the index");
    }
}

#[test]
fn no_large_file_enters_the_repository() {
    let mut paths = Vec::new();
    files_below(&root(), &mut paths);
    for path in paths {
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        assert!(bytes <= FILE_BYTES_MAX, "{} has {bytes} bytes", path.display());
    }
}

#[test]
fn functions_are_measured_as_rustfmt_lays_them_out() {
    let source = "fn short() {\n    a();\n}\n\nimpl X {\n    pub async fn long(\n        \
                  &self,\n    ) {\n        // why\n        a();\n\n        b();\n    }\n}\n";
    assert_eq!(longest_function(source), (4, "long".into()));
}
