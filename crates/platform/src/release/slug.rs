//! What the code of a deploy is called.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::hash::fnv1a;

/// A repository that does not answer by then is as good as none.
const LIMIT: Duration = Duration::from_secs(5);

/// The commit's first eight digits, as on Heroku (`Deploy 954ab531`); where there is no repository,
/// those of the Procfile's hash.
pub(super) async fn slug(app_dir: &Path, procfile: &str) -> String {
    match commit(app_dir).await {
        Some(commit) => commit,
        None => format!("{:08x}", fnv1a(procfile.as_bytes()) >> 32),
    }
}

async fn commit(app_dir: &Path) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=8", "HEAD"]).current_dir(app_dir).kill_on_drop(true);
    git.stdin(Stdio::null()).stderr(Stdio::null());
    let output = timeout(LIMIT, git.output()).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let commit = text.trim();
    let digits = commit.len() >= 8 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (output.status.success() && digits).then(|| commit[..8].to_owned())
}
