//! The router in a process of its own, with the server as its one dyno, and with everything that
//! `surgetank up` has behind it: log, clock, recording.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bench_kit::say;
use platform::{DynoOptions, Dynos, Formation, LogHub, Procfile, Router, RouterOptions, Tracer};
use recording::Recorder;
use trace::{Clock, DynoNames, DynoState};

/// The process from outside; it ends when this is dropped.
pub(crate) struct Ours {
    process: Child,
    /// Closing it is the word to end.
    input: Option<ChildStdin>,
    pub(crate) router: SocketAddr,
    pub(crate) dyno: SocketAddr,
}

impl Ours {
    /// Starts this program again, as the router.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("router")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let mut line = String::new();
        let output = process.stdout.take().context("the router's output")?;
        BufReader::new(output).read_line(&mut line)?;
        let (router, dyno) = line.trim().split_once(' ').context("the router did not start")?;
        let (router, dyno) = (router.parse()?, dyno.parse()?);
        Ok(Self { process, input, router, dyno })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself now.
        let _ended = self.process.wait();
    }
}

/// The process from inside.
pub(crate) fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let clock = Clock::start();
    let recorder = Recorder::start(folder.path(), clock)?;
    runtime.block_on(async {
        let names = Arc::new(DynoNames::new(clock));
        let tracer = Tracer::new(clock, names, Arc::new(recorder.sink()));
        let hub = LogHub::new(clock);
        let program = std::env::current_exe()?;
        let procfile = Procfile::parse(&format!("web: {} upstream", program.display()))?;
        let formation = Formation::initial(&procfile).changed_by("web=1")?;
        let options = DynoOptions::new(folder.path().to_owned());
        let dynos = Dynos::start(procfile, formation, options, hub.clone(), tracer.clone()).await?;
        let up = dynos.wait_until(|dynos| dynos.iter().all(|it| it.state == DynoState::Up));
        tokio::time::timeout(Duration::from_secs(30), up).await.context("the server")?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let router = Router::start(RouterOptions::new(any, 1), &dynos, hub, tracer).await?;
        let port = dynos.ps().first().and_then(|dyno| dyno.port).context("the dyno's port")?;
        say(&format!("{} {}", router.address(), SocketAddr::from((Ipv4Addr::LOCALHOST, port))))?;
        let until_closed = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(until_closed).await??;
        router.shutdown(Duration::from_secs(1)).await;
        dynos.shutdown().await;
        anyhow::Ok(())
    })?;
    let summary = recorder.finish()?;
    ensure!(summary.events > 0, "nothing was recorded");
    Ok(())
}
