//! The old process's side of a handover.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, bail};
use proxy::{Held, Proxy};
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Service;
use super::control::ControlSocket;
use super::link::{DESCRIPTORS_MAX, Link, Message, PROTOCOL, Place};
use super::offspring::Offspring;
use crate::exit::one_line;
use crate::out;

/// How long a successor may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long it may take to get ready once it has our sockets.
const GETTING_READY: Duration = Duration::from_secs(60);

/// How often what we still hold is looked at.
const HELD_EVERY: Duration = Duration::from_millis(100);

impl Service {
    /// Waits for successors, or starts one when asked to, until one has taken over; then ends as
    /// the sessions do.
    pub(super) async fn give_way(
        &self,
        control: Option<ControlSocket>,
        succeed: &mut Signal,
        proxy: &Proxy,
    ) -> anyhow::Result<()> {
        let Some(control) = control else {
            loop {
                succeed.recv().await;
                tracing::warn!("SIGUSR2 starts a successor only with --handover");
            }
        };
        let mut offspring: Option<Offspring> = None;
        loop {
            tokio::select! {
                link = control.accept() => {
                    if let Some(offspring) = &mut offspring {
                        offspring.adopted().await;
                    }
                    let handed = match link {
                        Ok(link) => self.hand_over(link, proxy).await,
                        Err(error) => Err(error.into()),
                    };
                    match handed {
                        Ok(link) => {
                            control.leave();
                            return self.release(link, proxy).await;
                        }
                        Err(error) => self.goes_on(&format!("no handover: {}", one_line(&error))),
                    }
                }
                _ = succeed.recv(), if offspring.is_none() => {
                    if self.ending.borrow().is_some() {
                        tracing::warn!("no successor: this process is ending");
                        continue;
                    }
                    self.notifier.reloading("starting a successor");
                    match Offspring::start() {
                        Ok(started) => offspring = Some(started),
                        Err(error) => self.goes_on(&format!("no successor: {}", one_line(&error))),
                    }
                }
                () = end_of(&mut offspring) => {
                    offspring = None;
                    self.goes_on("the successor ended before it took over");
                }
            }
        }
    }

    /// Nothing has changed.
    fn goes_on(&self, why: &str) {
        tracing::warn!("{why}; this process serves on");
        if self.ending.borrow().is_none() {
            self.notifier.ready(&format!("{}; {why}", self.status()));
        }
    }

    /// Lets a new process take over. If it fails, all is as it was.
    async fn hand_over(&self, mut link: Link, proxy: &Proxy) -> anyhow::Result<Link> {
        let pid = self.introduce(&mut link, proxy).await?;
        expect(&mut link, GETTING_READY, |message| matches!(message, Message::Ready)).await?;
        let connection = link.copy()?;
        // What takes time comes first: while nobody accepts, clients wait.
        let held = proxy.give_way().await;
        let handed = self.stand_back(&mut link, &held, proxy).await;
        if let Err(error) = handed {
            proxy.take_back();
            // In the other case the sockets were closed meanwhile, and must stay so.
            if self.ending.borrow().is_none() {
                proxy.accept_again()?;
            }
            return Err(error);
        }
        proxy.cede_all()?;
        if let Some(metrics) = self.metrics.borrow_mut().as_mut() {
            metrics.leave();
        }
        self.notifier.succeeded_by(pid);
        self.successor.replace(Some(connection));
        self.end_in(self.drain);
        out::talk(&format!(
            "surgetank: process {pid} took over, {} sessions stay",
            proxy.sessions()
        ));
        Ok(link)
    }

    /// Who it is, and what we listen on.
    async fn introduce(&self, link: &mut Link, proxy: &Proxy) -> anyhow::Result<u32> {
        let Ok(Ok(Some(Message::Hello { protocol, version, pid }))) =
            timeout(ANSWER, link.hear()).await
        else {
            bail!("it did not say who it is");
        };
        let handed = proxy.sockets()?;
        let metrics = self.metrics_place()?;
        let of_metrics = metrics.iter().map(|(_, socket)| socket);
        let sockets = handed.iter().flat_map(|handed| &handed.sockets).chain(of_metrics);
        let copies: Vec<BorrowedFd<'_>> = sockets.map(AsFd::as_fd).collect();
        let why = if protocol != PROTOCOL {
            format!("version {version} speaks protocol {protocol} of handovers, not {PROTOCOL}")
        } else if self.ending.borrow().is_some() {
            "it is ending".to_owned()
        } else if copies.len() > DESCRIPTORS_MAX {
            format!("it has {} sockets, at most {DESCRIPTORS_MAX} can be given", copies.len())
        } else {
            let place = |handed: &proxy::Handed| Place {
                asked: self.asked.get(&handed.addr).cloned().unwrap_or(Some(handed.addr.clone())),
                bound: handed.addr.clone(),
                dyno: handed.dyno.as_deref().map(str::to_owned),
                sockets: handed.sockets.len(),
            };
            let places = handed.iter().map(place).collect();
            let metrics = metrics.as_ref().map(|(place, _)| place.clone());
            let message = Message::Sockets { pid: std::process::id(), places, metrics };
            link.say_with(&message, &copies).await?;
            return Ok(pid);
        };
        link.say(&Message::Refused { why: why.clone() }).await?;
        bail!(why)
    }

    /// Where Prometheus comes, and a copy of its socket.
    fn metrics_place(&self) -> anyhow::Result<Option<(Place, OwnedFd)>> {
        let metrics = self.metrics.borrow();
        let Some(metrics) = metrics.as_ref() else { return Ok(None) };
        let (asked, bound) = (Some(metrics.asked().into()), metrics.bound().into());
        let place = Place { asked, bound, dyno: None, sockets: 1 };
        Ok(metrics.socket()?.map(|socket| (place, socket)))
    }

    /// Accepts nothing more and waits until the new process does.
    async fn stand_back(
        &self,
        link: &mut Link,
        held: &[Held],
        proxy: &Proxy,
    ) -> anyhow::Result<()> {
        proxy.stop_accepting().await?;
        link.say(&Message::Yours { held: pairs(held) }).await?;
        expect(link, ANSWER, |message| matches!(message, Message::Accepting)).await
    }

    /// Tells the new process what is still held here, less and less, and carries out the cancel
    /// requests that it passes on.
    async fn release(&self, mut link: Link, proxy: &Proxy) -> anyhow::Result<()> {
        // The first, at once, also says that the service manager knows of the new process.
        let mut told = None;
        let canceller = proxy.canceller();
        let mut cancels = JoinSet::new();
        let mut ticks = interval(HELD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let said = tokio::select! {
                _ = ticks.tick() => {
                    let held = proxy.give_way().await;
                    if told.as_ref() == Some(&held) {
                        continue;
                    }
                    let message = Message::Held { held: pairs(&held) };
                    told = Some(held);
                    link.say(&message).await
                }
                Some(Ok(number)) = cancels.join_next() => {
                    link.say(&Message::Cancelled { number }).await
                }
                heard = link.hear() => match heard {
                    Ok(Some(Message::Cancel { number, pid, key })) => {
                        let canceller = canceller.clone();
                        cancels.spawn(async move {
                            canceller.cancel(pid, &key).await;
                            number
                        });
                        Ok(())
                    }
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => break,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = said {
                tracing::warn!(%error, "the successor does not listen");
                break;
            }
        }
        // The successor is gone; the sessions that are left here are served to their end.
        std::future::pending().await
    }
}

async fn expect(
    link: &mut Link,
    patience: Duration,
    wanted: impl FnOnce(&Message) -> bool,
) -> anyhow::Result<()> {
    match timeout(patience, link.hear()).await {
        Ok(Ok(Some(message))) if wanted(&message) => Ok(()),
        Ok(Ok(Some(_))) => bail!("the successor speaks out of turn"),
        Ok(Ok(None)) => bail!("the successor hung up"),
        Ok(Err(error)) => Err(error).context("the successor"),
        Err(_) => bail!("the successor is not ready after {patience:?}"),
    }
}

fn pairs(held: &[Held]) -> Vec<(String, u32)> {
    held.iter().map(|held| (held.database.clone(), held.connections)).collect()
}

async fn end_of(offspring: &mut Option<Offspring>) {
    match offspring {
        Some(offspring) => offspring.ended().await,
        None => std::future::pending().await,
    }
}
