//! The new process's side of a handover.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use proxy::{Held, Proxy};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::link::{Link, Message, PROTOCOL, Place};

/// How long the old process may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Cancel requests that the old process has not carried out yet; more wait.
const CANCELS_MAX: usize = 64;

/// The process that served here before, and still has sessions.
#[derive(Debug)]
pub(super) struct Predecessor {
    link: Link,
    pid: u32,
}

/// What the old process listens on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) places: Vec<(Place, Vec<OwnedFd>)>,
    pub(super) metrics: Option<(Place, Vec<OwnedFd>)>,
}

impl Predecessor {
    /// Meets the process that serves at the path, if there is one. It serves on until
    /// [`Self::accepting`].
    pub(super) async fn meet(path: &Path) -> anyhow::Result<Option<(Self, Passed)>> {
        Self::try_meet(path).await.with_context(|| format!("--handover {}", path.display()))
    }

    async fn try_meet(path: &Path) -> anyhow::Result<Option<(Self, Passed)>> {
        let Some(mut link) = Link::connect(path).await? else { return Ok(None) };
        let hello = Message::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        };
        link.say(&hello).await?;
        match answer(&mut link).await? {
            Some(Message::Sockets { pid, places, metrics }) => {
                let mut passed = Passed::default();
                for place in places {
                    let sockets = link.take(place.sockets)?;
                    passed.places.push((place, sockets));
                }
                if let Some(place) = metrics {
                    let sockets = link.take(place.sockets)?;
                    passed.metrics = Some((place, sockets));
                }
                Ok(Some((Self { link, pid }, passed)))
            }
            Some(Message::Refused { why }) => bail!("the process there goes on: {why}"),
            Some(_) => bail!("the process there speaks out of turn"),
            None => bail!("the process there hung up"),
        }
    }

    /// Says that we are ready and waits until the old process accepts nothing more; `None` if it
    /// has died, which leaves the sockets to us as well.
    pub(super) async fn replace(mut self, proxy: &Proxy) -> anyhow::Result<Option<Self>> {
        let pid = self.pid;
        match self.link.say(&Message::Ready).await {
            Err(error) if is_gone(&error) => return Ok(None),
            said => said?,
        }
        match answer(&mut self.link).await? {
            Some(Message::Yours { held }) => {
                proxy.held_elsewhere(&those(held));
                Ok(Some(self))
            }
            Some(_) => bail!("process {pid} speaks out of turn"),
            None => {
                tracing::warn!(pid, "the old process died during the handover");
                Ok(None)
            }
        }
    }

    /// Says that we accept connections: the old process lets go of its sockets. `None` if it has
    /// died: whoever has come in meanwhile is served all the same.
    pub(super) async fn accepting(self, proxy: &Proxy) -> anyhow::Result<Option<Self>> {
        match self.link.say(&Message::Accepting).await {
            Err(error) if is_gone(&error) => {
                tracing::warn!(pid = self.pid, "the old process died during the handover");
                proxy.held_elsewhere(&[]);
                Ok(None)
            }
            said => said.map(|()| Some(self)).context("the old process"),
        }
    }

    /// Follows what the old process still holds and passes on the cancel requests for its sessions,
    /// until it has ended. `in_charge` is called once it does not speak for the service any more:
    /// until then the service manager does not listen to us.
    pub(super) async fn follow(mut self, proxy: &Proxy, in_charge: impl FnOnce()) {
        let mut in_charge = Some(in_charge);
        let mut strays = proxy.strays();
        let mut sent: HashMap<u64, oneshot::Sender<()>> = HashMap::new();
        let mut last = 0;
        loop {
            let heard = tokio::select! {
                heard = self.link.hear() => heard,
                Some(stray) = strays.recv(), if sent.len() < CANCELS_MAX => {
                    last += 1;
                    sent.insert(last, stray.delivered);
                    let key = stray.key.into_vec();
                    let cancel = Message::Cancel { number: last, pid: stray.pid, key };
                    match self.link.say(&cancel).await {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
            };
            match heard {
                Ok(Some(Message::Held { held })) => {
                    proxy.held_elsewhere(&those(held));
                    if let Some(speak) = in_charge.take() {
                        speak();
                    }
                }
                Ok(Some(Message::Cancelled { number })) => {
                    // Dropping the sender tells as well.
                    sent.remove(&number);
                }
                Ok(Some(_)) => tracing::warn!(pid = self.pid, "the old process speaks out of turn"),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(pid = self.pid, %error, "the old process is not understood");
                    break;
                }
            }
        }
        proxy.held_elsewhere(&[]);
        if let Some(speak) = in_charge {
            speak();
        }
        tracing::info!(pid = self.pid, "the old process has ended");
    }
}

/// Whether the other side has died.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

async fn answer(link: &mut Link) -> anyhow::Result<Option<Message>> {
    match timeout(ANSWER, link.hear()).await {
        Ok(heard) => Ok(heard?),
        Err(_) => Err(anyhow!("the process there does not answer")),
    }
}

fn those(held: Vec<(String, u32)>) -> Vec<Held> {
    held.into_iter().map(|(database, connections)| Held { database, connections }).collect()
}
