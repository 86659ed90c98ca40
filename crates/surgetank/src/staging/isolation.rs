//! How the dynos of a run are kept apart: as containers with a database listener on a loopback of
//! their own, or as plain processes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use anyhow::Context;
use platform::postgres::RunFolder;
use platform::{ContainerOptions, DynoName, Egress, Isolation, ServePort};
use proxy::Proxy;

/// Where every contained dyno finds its database: PostgreSQL's own port.
const DATABASE_PORT: u16 = 5432;

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Apart {
    pub(crate) wanted: Wanted,
    pub(crate) egress: Egress,
    /// Further files and folders that contained dynos see.
    pub(crate) binds: Vec<PathBuf>,
}

/// Containers or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wanted {
    /// Containers where they can be had (on Linux; with limits as root), else plain processes
    Auto,
    /// Containers, or an error
    Container,
    /// Plain processes
    Process,
}

impl Apart {
    /// Plain processes.
    pub(crate) fn processes() -> Self {
        Self { wanted: Wanted::Process, egress: Egress::All, binds: Vec::new() }
    }

    /// What can be had of it here; tries it out.
    pub(crate) async fn settle(
        &self,
        run: Arc<RunFolder>,
        proxy: &Arc<Proxy>,
    ) -> anyhow::Result<Settled> {
        let plain = |why: &str| Settled { isolation: Isolation::Process, plain: why.to_owned() };
        if self.wanted == Wanted::Process {
            return Ok(plain("as was asked for"));
        }
        let program = std::env::current_exe().context("the path of this program")?;
        let helper = vec![program.clone().into_os_string(), "__dyno".into()];
        let mut options = ContainerOptions::new(run, helper);
        options.programs = vec![("surgetank".to_owned(), program)];
        options.binds.clone_from(&self.binds);
        options.egress = self.egress;
        if self.egress == Egress::Database {
            options.ports = vec![(DATABASE_PORT, database(Arc::downgrade(proxy)))];
        }
        let options = Arc::new(options);
        let tried = Arc::clone(&options);
        match tokio::task::spawn_blocking(move || tried.check()).await? {
            Ok(()) => {
                Ok(Settled { isolation: Isolation::Container(options), plain: String::new() })
            }
            Err(why) if self.wanted == Wanted::Auto => Ok(plain(&why)),
            Err(why) => anyhow::bail!("--isolation container: {why}"),
        }
    }
}

/// The proxy on a dyno's own loopback: whoever connects there is that dyno.
fn database(proxy: Weak<Proxy>) -> ServePort {
    Arc::new(move |dyno: &DynoName, listener: TcpListener| {
        let proxy = proxy.upgrade().ok_or_else(|| std::io::Error::other("the proxy has ended"))?;
        let serving = proxy.serve(listener.into(), &dyno.to_string());
        Ok(Box::new(serving.map_err(std::io::Error::other)?))
    })
}

/// How dynos are kept apart in this run.
pub(crate) struct Settled {
    pub(crate) isolation: Isolation,
    /// Why they are plain processes; empty if they are not.
    plain: String,
}

impl Settled {
    /// Where every dyno finds its database, if that is the same for all.
    pub(crate) fn database(&self) -> Option<SocketAddr> {
        match &self.isolation {
            Isolation::Container(options) if options.egress == Egress::Database => {
                Some(SocketAddr::from((Ipv4Addr::LOCALHOST, DATABASE_PORT)))
            }
            Isolation::Container(_) | Isolation::Process => None,
        }
    }

    /// Whether dynos have no more memory and processor time than their size says.
    pub(crate) fn has_limits(&self) -> bool {
        match &self.isolation {
            Isolation::Container(options) => options.has_limits(),
            Isolation::Process => false,
        }
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        match &self.isolation {
            Isolation::Container(options) => {
                let reach = match options.egress {
                    Egress::Database => "containers that reach nothing but their database",
                    Egress::All => "containers that share this machine's network",
                };
                let limits = match options.has_limits() {
                    true => "",
                    false => {
                        ", in user namespaces, without limits on memory and processor time \
                              (those need root)"
                    }
                };
                format!("{reach}{limits}")
            }
            Isolation::Process => format!(
                "plain processes, without limits, files or a network of their own ({})",
                self.plain
            ),
        }
    }
}
