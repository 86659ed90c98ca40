//! Several proxies in front of one database agree without knowing of each other beforehand.
//!
//! Pure. PostgreSQL carries it all: each proxy holds one connection to speak on, and its
//! `application_name` is what it says ([`Gossip`]). A round is: say something, then look at what
//! all say and at what the server itself counts ([`Look`]); [`Alliance::hear`] says what follows.
//!
//! * *Connections.* Whoever wants more claims it first, looks again, and has it only if all claims
//!   together fit: of two who claim the same, the later one sees both. What a proxy may have and
//!   what it has open stays claimed until it says otherwise, also when nothing is heard of it any
//!   more: it is still there. Who has no connection to speak on is counted by the server, as a
//!   stranger. So the sum holds whoever leads, and if nobody does.
//! * *The limit* of executing statements is found by the leader, for all; each has its part of it
//!   by demand. The leader holds an advisory lock, of which there is a ladder: if its holder has
//!   stopped, the lock cannot be taken from it, so the next one takes the next rung. The highest
//!   rung whose holder lives leads, and who sees a higher one gives up its own.
//! * A proxy whose load is small beside another's gives the lead away: it would measure chance.

use std::collections::VecDeque;

use trace::Micros;

use crate::Part;

mod gossip;
mod room;
#[cfg(test)]
mod tests;

pub use gossip::{Gossip, Role};
pub use room::SPARE;
use room::{Foreign, LEAST, allot, for_newcomers};

/// Who has said nothing new for so long has stopped, or lost touch.
const SILENT: Micros = Micros::from_secs(2);

/// After so long without a leader whoever can leads.
const VACANT: Micros = Micros::from_millis(750);

/// Who has not this part of the largest demand does not lead if another can,
const MINOR: u32 = 3;
/// and gives the lead away after so many rounds.
const OUTDONE: u32 = 8;

/// So many who were heard once are remembered.
const GONE: usize = 16;

/// Weight of the present demand in our share, and how far (ln) that must be from what it was.
const NEW: f64 = 0.3;
const NEAR: f64 = 0.05;

/// A limit by the server, and what is used of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Most connections, if there is a limit.
    pub limit: Option<u32>,
    /// Connections that there are.
    pub used: u32,
}

/// A proxy as the server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The server's process that serves it.
    pub pid: i32,
    /// The rung of the ladder that it holds.
    pub rung: Option<u32>,
    /// Whether it is the same role as we are.
    pub is_kin: bool,
    /// What it says.
    pub gossip: Gossip,
}

/// What a look at the server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The server's process that serves us.
    pub me: i32,
    /// How many connections it has for ordinary roles.
    pub slots: u32,
    /// How many there are.
    pub all: u32,
    /// The same of our role.
    pub role: Bound,
    /// The same of the database.
    pub database: Bound,
    /// All proxies that speak, ourselves included.
    pub peers: Vec<Peer>,
}

/// What our own proxy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Who waits and who executes.
    pub demand: u32,
    /// Who executes.
    pub executing: u32,
    /// Connections that are open or being opened, the one we speak on included.
    pub open: u32,
    /// Connections that somebody has a right to already, the one we speak on included.
    pub promised: u32,
    /// The limit of all, as far as our own law knows it.
    pub total: u32,
}

/// Who we are among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rank {
    /// We find the limit for all.
    Leader,
    /// Another one does.
    Follower,
    /// Nobody does just now; what was found last holds.
    #[default]
    Leaderless,
}

/// What is to be done about the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// Nothing.
    Stay,
    /// Try to take this rung.
    Take(u32),
    /// Give back the rung that we hold.
    Leave(u32),
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who we are.
    pub rank: Rank,
    /// How many proxies there are, ourselves included.
    pub proxies: u32,
    /// Our part of the limit.
    pub part: Part,
    /// The most connections that we may have from now on, the one we speak on included.
    pub cap: u32,
    /// For how many connections of all proxies together the server has room.
    pub room: u32,
    /// What to do about the ladder.
    pub ladder: Ladder,
    /// Whether to speak and look again at once: more was claimed, or is not claimed any more.
    pub again: bool,
}

/// Somebody whom we heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    pid: i32,
    id: u32,
    open: u32,
    beat: u32,
    /// Since when it is that beat.
    since: Micros,
}

/// One proxy's memory of the others.
#[derive(Clone, Debug)]
pub struct Alliance {
    id: u32,
    beat: u32,
    /// The most connections we may have.
    cap: u32,
    /// What we said that we may have, or want.
    claim: u32,
    /// Whom we heard.
    heard: Vec<Heard>,
    /// Whom we do not hear any more, and what each had open.
    gone: VecDeque<(u32, u32)>,
    /// What the others had said last when all of them had spoken anew.
    anew: Vec<(i32, u32)>,
    foreign: Foreign,
    rank: Rank,
    share: f64,
    /// The share that holds: it does not follow each small change.
    told: f64,
    proxies: usize,
    /// The limit that was heard last.
    total: Option<u32>,
    /// Since when nobody leads.
    vacant: Option<Micros>,
    /// For how many rounds another had far more to do.
    outdone: u32,
}

impl Alliance {
    /// A newcomer, who has no more than the connection it speaks on and one for its clients, or as
    /// many as it has `open`, the one it speaks on included.
    #[must_use]
    pub fn join(id: u32, open: u32) -> Self {
        let cap = open.max(LEAST);
        Self {
            id: id & gossip::IDS,
            beat: 0,
            cap,
            claim: cap,
            heard: Vec::new(),
            gone: VecDeque::new(),
            anew: Vec::new(),
            foreign: Foreign::default(),
            rank: Rank::Leaderless,
            share: 1.0,
            told: 1.0,
            proxies: 0,
            total: None,
            vacant: None,
            outdone: 0,
        }
    }

    /// What to say now.
    pub fn speak(&mut self, own: Own) -> Gossip {
        self.beat = (self.beat + 1) % gossip::BEATS;
        self.claim = self.claim.max(self.cap);
        Gossip {
            id: self.id,
            beat: self.beat,
            demand: own.demand.saturating_add(1),
            open: own.open,
            most: self.claim.max(own.open).max(own.promised),
            role: match self.rank {
                Rank::Leader => Role::Leads { limit: own.total, foreign: self.foreign.most() },
                Rank::Follower | Rank::Leaderless => Role::Follows { executing: own.executing },
            },
        }
    }

    /// What follows from what was seen after [`Self::speak`].
    pub fn hear(&mut self, look: &Look, at: Micros) -> Plan {
        let fresh = self.fresh(look, at);
        let demand = |peer: &&Peer| peer.gossip.demand.max(1);
        let own_demand = fresh.iter().find(|peer| peer.pid == look.me).map_or(1, demand);
        let most_demand = fresh.iter().map(demand).max().unwrap_or(1);
        let leader = fresh.iter().filter(|peer| peer.rung.is_some()).max_by_key(|peer| peer.rung);
        let ladder = self.climb(look, leader.copied(), (own_demand, most_demand), at);
        let led = leader.filter(|_| self.rank == Rank::Follower).map(|peer| peer.gossip.role);
        let anew = self.anew(look.me, &fresh);
        let (room, sure) = self.room(look, (led, anew), at);
        let again = self.settle(look, &fresh, (room, sure));
        Plan {
            rank: self.rank,
            proxies: u32::try_from(fresh.len()).unwrap_or(u32::MAX),
            part: self.part(&fresh, own_demand, led),
            cap: self.cap,
            room,
            ladder,
            again,
        }
    }

    /// Those who have said something new lately.
    fn fresh<'a>(&mut self, look: &'a Look, at: Micros) -> Vec<&'a Peer> {
        let old = std::mem::take(&mut self.heard);
        let is_gone = |one: &&Heard| look.peers.iter().all(|peer| peer.pid != one.pid);
        self.gone.extend(old.iter().filter(is_gone).map(|one| (one.id, one.open)));
        while self.gone.len() > GONE {
            self.gone.pop_front();
        }
        for peer in &look.peers {
            let Gossip { id, open, beat, .. } = peer.gossip;
            let known = old.iter().find(|one| one.pid == peer.pid);
            if known.is_none() && !old.is_empty() {
                // Its first connection, and what it had while it could not speak, seemed to be
                // strangers'.
                let had = self.gone.iter().position(|(who, _)| *who == id);
                let had = had.and_then(|nth| self.gone.remove(nth)).map_or(1, |(_, open)| open);
                self.foreign.joined(had);
            }
            let since = known.filter(|one| one.beat == beat).map_or(at, |one| one.since);
            self.heard.push(Heard { pid: peer.pid, id, open, beat, since });
        }
        let lives = |(_, one): &(&Peer, &Heard)| {
            // What bears our name and is not served as we are is what we lost touch with.
            let is_ghost = one.id == self.id;
            one.pid == look.me || (!is_ghost && at.since(one.since) < SILENT)
        };
        let pairs = look.peers.iter().zip(&self.heard).filter(lives);
        let mut fresh: Vec<&Peer> = pairs.map(|(peer, _)| peer).collect();
        fresh.sort_by_key(|peer| peer.pid);
        fresh
    }

    /// Whether all others who live have spoken since this was so last.
    fn anew(&mut self, me: i32, fresh: &[&Peer]) -> bool {
        let others = fresh.iter().filter(|peer| peer.pid != me);
        let now: Vec<_> = others.map(|peer| (peer.pid, peer.gossip.beat)).collect();
        let is_so = now.iter().all(|one| !self.anew.contains(one));
        if is_so {
            self.anew = now;
        }
        is_so
    }

    /// Who we are, and what is to be done about the ladder.
    fn climb(
        &mut self,
        look: &Look,
        leader: Option<&Peer>,
        (own, most): (u32, u32),
        at: Micros,
    ) -> Ladder {
        let held = look.peers.iter().find(|peer| peer.pid == look.me).and_then(|peer| peer.rung);
        let is_minor = u64::from(own) * u64::from(MINOR) < u64::from(most);
        match (leader, held) {
            (Some(peer), Some(rung)) if peer.pid == look.me => {
                // leader => leader | gives it away
                self.vacant = None;
                self.rank = Rank::Leader;
                self.outdone = if is_minor { self.outdone + 1 } else { 0 };
                if self.outdone >= OUTDONE { Ladder::Leave(rung) } else { Ladder::Stay }
            }
            (Some(_), held) => {
                // whoever => follower
                self.vacant = None;
                (self.rank, self.outdone) = (Rank::Follower, 0);
                held.map_or(Ladder::Stay, Ladder::Leave)
            }
            (None, _) => {
                // whoever => leaderless, until the next look
                (self.rank, self.outdone) = (Rank::Leaderless, 0);
                let vacant = *self.vacant.get_or_insert(at);
                if is_minor && at.since(vacant) < VACANT {
                    return Ladder::Stay;
                }
                // The holders of the others have stopped.
                let highest = look.peers.iter().filter_map(|peer| peer.rung).max();
                Ladder::Take(highest.map_or(0, |rung| rung.saturating_add(1)))
            }
        }
    }

    /// For how many connections of all proxies the server has room; and for how many if all that
    /// seem to be strangers' are.
    fn room(&mut self, look: &Look, (led, anew): (Option<Role>, bool), at: Micros) -> (u32, u32) {
        let sum = |kin: bool, of: fn(&Gossip) -> u32| -> u32 {
            let those = look.peers.iter().filter(|peer| !kin || peer.is_kin);
            those.map(|peer| of(&peer.gossip)).fold(0, u32::saturating_add)
        };
        let (open, open_of_kin) = (sum(false, |one| one.open), sum(true, |one| one.open));
        let strangers = look.all.saturating_sub(open);
        self.foreign.seen(strangers, (self.heard.len() == 1, anew), at);
        if let Some(Role::Leads { foreign, .. }) = led {
            self.foreign.hears(foreign, at);
        }
        let foreign = self.foreign.most();
        let left = |bound: Bound, ours: u32| {
            let left = |limit: u32| limit.saturating_sub(bound.used.saturating_sub(ours));
            bound.limit.map_or(u32::MAX, left)
        };
        let others = sum(false, |one| one.most) - sum(true, |one| one.most);
        let of_role = left(look.role, open_of_kin).saturating_add(others);
        let least = left(look.database, open).min(of_role);
        let of_server = |foreign: u32| least.min(look.slots.saturating_sub(SPARE + foreign));
        (of_server(foreign), of_server(foreign.max(strangers)))
    }

    /// How many connections we may have. True if we said more than we may have, or claim more now.
    fn settle(&mut self, look: &Look, fresh: &[&Peer], (room, sure): (u32, u32)) -> bool {
        let most = |peer: &Peer| peer.gossip.most;
        let [room, sure] = [room, sure].map(|room| room - for_newcomers(room, fresh.len()));
        let others: u32 = look
            .peers
            .iter()
            .filter(|peer| peer.pid != look.me)
            .fold(0, |sum, peer| sum.saturating_add(most(peer)));
        // Those who are silent keep what they have.
        let silent = look.peers.iter().filter(|peer| fresh.iter().all(|one| one.pid != peer.pid));
        let silent = silent.fold(0, |sum: u32, peer| sum.saturating_add(most(peer)));
        let demands: Vec<u32> = fresh.iter().map(|peer| peer.gossip.demand.max(1)).collect();
        let parts = allot(room.saturating_sub(silent), &demands);
        let own = fresh.iter().position(|peer| peer.pid == look.me);
        let target = own.and_then(|own| parts.get(own)).copied().unwrap_or(LEAST);

        // Nothing is given up for those who may be strangers, and nothing taken that may be theirs.
        let (room, free) = (room.saturating_sub(others), sure.saturating_sub(others));
        let had = std::mem::replace(&mut self.claim, self.cap);
        if had > self.cap && had <= free {
            // claimed => had
            self.cap = had;
        }
        // Small changes of demand move nothing as long as there is room for all.
        let slack = if self.cap > room { 0 } else { 1 + target / 8 };
        if self.cap > target + slack {
            self.cap = target;
        }
        let claim = target.min(free);
        self.claim = if claim > self.cap && had <= self.cap { claim } else { self.cap };
        had > self.cap || self.claim > self.cap
    }

    /// Our part of the limit.
    fn part(&mut self, fresh: &[&Peer], own: u32, led: Option<Role>) -> Part {
        let sum: u64 = fresh.iter().map(|peer| u64::from(peer.gossip.demand.max(1))).sum();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let now = f64::from(own) / sum.max(1) as f64;
        // Who comes or goes changes all at once; demand, bit by bit.
        if self.rank != Rank::Leaderless {
            let same = std::mem::replace(&mut self.proxies, fresh.len()) == fresh.len();
            let bits = same && fresh.len() > 1;
            self.share = if bits { self.share + NEW * (now - self.share) } else { now };
            if !bits || (self.share / self.told).ln().abs() > NEAR {
                self.told = self.share;
            }
        }
        let share = self.told;
        let led = match (self.rank, led) {
            (Rank::Leader, _) => None,
            (Rank::Follower, Some(Role::Leads { limit, .. })) => Some(limit),
            // Whoever leads has not said so yet, or nobody does: what was found last holds.
            (Rank::Follower | Rank::Leaderless, _) => self.total,
        };
        self.total = led;
        Part { share, led }
    }
}
