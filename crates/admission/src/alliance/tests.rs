use proptest::prelude::*;

use super::*;

/// A proxy of the play.
struct Member {
    alliance: Alliance,
    pid: i32,
    /// Its clients' connections.
    open: u32,
    demand: u32,
    total: u32,
    rung: Option<u32>,
    /// What it has said, if it has a connection to say it on.
    said: Option<Gossip>,
    /// It has spoken and not looked yet.
    looks: bool,
    stopped: bool,
    plan: Option<Plan>,
}

impl Member {
    fn own(&self) -> Own {
        let open = self.open + u32::from(self.said.is_some());
        let (demand, executing) = (self.demand, self.demand.min(self.open));
        Own { demand, executing, open: open.max(1), promised: open, total: self.total }
    }

    fn cap(&self) -> u32 {
        self.alliance.cap
    }
}

/// A server, and proxies that come and go.
struct Play {
    now: Micros,
    slots: u32,
    foreign: u32,
    members: Vec<Member>,
    born: i32,
}

impl Play {
    fn new(slots: u32, foreign: u32) -> Self {
        Self { now: Micros::ZERO, slots, foreign, members: Vec::new(), born: 0 }
    }

    fn newcomer(&mut self, demand: u32) -> usize {
        self.born += 1;
        let id = u32::try_from(self.born).expect("few");
        self.members.push(Member {
            alliance: Alliance::join(id, 0),
            pid: self.born,
            open: 1,
            demand,
            total: 10 * id,
            rung: None,
            said: None,
            looks: false,
            stopped: false,
            plan: None,
        });
        self.members.len() - 1
    }

    fn newcomers(&mut self, count: u32) {
        for _ in 0..count {
            self.newcomer(10);
        }
    }

    /// What the server has.
    fn all(&self) -> u32 {
        let of = |member: &Member| member.open + u32::from(member.said.is_some());
        self.foreign + self.members.iter().map(of).sum::<u32>()
    }

    /// What all together may have.
    fn rights(&self) -> u32 {
        let of = |member: &Member| match member.said {
            Some(_) => (member.open + 1).max(member.cap()),
            None => member.open,
        };
        self.foreign + self.members.iter().map(of).sum::<u32>()
    }

    fn look(&self, me: i32) -> Look {
        let peers = self.members.iter().filter_map(|member| {
            let gossip = Gossip::read(&member.said?.to_string())?;
            Some(Peer { pid: member.pid, rung: member.rung, is_kin: true, gossip })
        });
        let bound = Bound { limit: None, used: self.all() };
        let (slots, all, peers) = (self.slots, self.all(), peers.collect());
        Look { me, slots, all, role: bound, database: bound, peers }
    }

    /// Says something, or looks at what was said.
    fn half_round(&mut self, who: usize) {
        let (now, look) = (self.now, self.look(self.members[who].pid));
        let taken: Vec<u32> = self.members.iter().filter_map(|member| member.rung).collect();
        let member = &mut self.members[who];
        if member.stopped {
            return;
        }
        if !member.looks {
            // The connection to speak on is there now.
            let own = member.own();
            let own = if member.said.is_some() { own } else { Own { open: own.open + 1, ..own } };
            member.said = Some(member.alliance.speak(own));
            member.looks = true;
            return;
        }
        member.looks = false;
        let plan = member.alliance.hear(&look, now);
        let take = match plan.ladder {
            Ladder::Take(rung) => (!taken.contains(&rung)).then_some(rung),
            Ladder::Stay | Ladder::Leave(_) => None,
        };
        let member = &mut self.members[who];
        match plan.ladder {
            Ladder::Leave(rung) => assert_eq!(member.rung.take(), Some(rung)),
            Ladder::Take(_) => member.rung = take.or(member.rung),
            Ladder::Stay => {}
        }
        if let Some(led) = plan.part.led {
            member.total = led;
        }
        // Idle connections above the cap are closed; the busy half of them is not idle.
        let cap = plan.cap - 1;
        if member.open > cap {
            member.open = cap.max(member.open / 2);
        }
        member.plan = Some(plan);
    }

    /// Whole rounds of everybody, a quarter of a second each.
    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.now = self.now + Micros::from_millis(250);
            for who in 0..self.members.len() {
                for _ in 0..6 {
                    self.half_round(who);
                    let again = self.members[who].plan.as_ref().is_some_and(|plan| plan.again);
                    if !self.members[who].looks && !again {
                        break;
                    }
                }
            }
        }
    }

    /// Everybody uses what it may.
    fn fill(&mut self) {
        for member in &mut self.members {
            member.open = member.open.max(member.cap() - 1);
        }
    }

    fn plan(&self, who: usize) -> &Plan {
        self.members[who].plan.as_ref().expect("it has looked")
    }

    fn ranks(&self) -> Vec<Rank> {
        self.members
            .iter()
            .map(|member| member.plan.as_ref().expect("it has looked").rank)
            .collect()
    }
}

const LEADER: Rank = Rank::Leader;
const FOLLOWER: Rank = Rank::Follower;

#[test]
fn alone_it_leads_and_has_all() {
    let mut play = Play::new(37, 5);
    play.newcomer(0);
    play.rounds(2);
    let plan = play.plan(0);
    assert_eq!((plan.rank, plan.proxies, plan.part), (LEADER, 1, Part::WHOLE));
    assert_eq!((plan.room, plan.cap), (30, 28), "two are left to a newcomer");
    assert_eq!(plan.ladder, Ladder::Stay);
}

#[test]
fn a_newcomer_gets_what_another_has_closed_and_not_before() {
    let mut play = Play::new(37, 0);
    play.newcomer(20);
    play.rounds(3);
    play.fill();
    play.rounds(1);
    assert_eq!(play.members[0].open, 32, "with the one it speaks on: 33");
    let newcomer = play.newcomer(20);
    assert_eq!(play.all(), 34, "its first is one of those left to it");
    for _ in 0..40 {
        play.rounds(1);
        play.fill();
        assert!(play.all() <= 35, "{}", play.all());
    }
    assert_eq!((play.members[0].cap(), play.members[newcomer].cap()), (17, 17));
    assert_eq!(play.ranks(), [LEADER, FOLLOWER]);
    // The follower's limit is its half of what the leader has found.
    assert_eq!(play.plan(newcomer).part, Part { share: 0.5, led: Some(10) });
}

#[test]
fn shares_follow_demand() {
    let mut play = Play::new(103, 0);
    for demand in [59, 29, 9] {
        play.newcomer(demand);
    }
    play.rounds(40);
    let share = |who: usize| play.plan(who).part.share;
    assert!((share(0) - 0.6).abs() < 0.03 && (share(1) - 0.3).abs() < 0.02, "{}", share(1));
    let caps: Vec<u32> = play.members.iter().map(Member::cap).collect();
    assert_eq!(caps.iter().sum::<u32>(), 101);
    assert!(caps[0] > 54 && caps[1] > 27 && caps[2] > 9, "{caps:?}");
}

#[test]
fn a_leader_that_ends_is_followed_at_once() {
    let mut play = Play::new(97, 0);
    play.newcomers(3);
    play.rounds(4);
    assert_eq!(play.ranks(), [LEADER, FOLLOWER, FOLLOWER]);
    play.members.remove(0);
    play.rounds(2);
    assert_eq!(play.ranks(), [LEADER, FOLLOWER]);
    assert_eq!(play.members[0].total, 10, "it goes on from what was found");
}

#[test]
fn a_leader_that_stops_keeps_its_lock_but_not_the_lead() {
    let mut play = Play::new(37, 0);
    play.newcomers(3);
    play.rounds(20);
    play.fill();
    play.rounds(1);
    let held = play.members[0].open;
    play.members[0].stopped = true;
    // Two seconds, and then the round in which it is noticed, and one to take the lock.
    play.rounds(10);
    assert_eq!(play.ranks()[1..], [LEADER, FOLLOWER]);
    assert_eq!((play.members[0].rung, play.members[1].rung), (Some(0), Some(1)));
    play.rounds(20);
    play.fill();
    assert_eq!(play.members[0].open, held);
    assert_eq!(play.all(), 34, "what it holds is its own as long as it is there");
    play.members[0].stopped = false;
    play.rounds(2);
    assert_eq!(play.ranks(), [FOLLOWER, LEADER, FOLLOWER]);
    assert_eq!(play.members[0].rung, None);
}

#[test]
fn who_cannot_speak_is_counted_as_a_stranger_and_never_more() {
    let mut play = Play::new(37, 0);
    play.newcomers(2);
    play.rounds(20);
    play.fill();
    play.rounds(2);
    (play.members[1].said, play.members[1].stopped) = (None, true);
    play.rounds(4);
    assert_eq!(play.plan(0).proxies, 1);
    assert_eq!(play.plan(0).room, 35 - play.members[1].open);
    // It speaks again: nothing of it is left to strangers.
    let open = play.members[1].open;
    (play.members[1].pid, play.members[1].stopped) = (99, false);
    play.members[1].alliance = Alliance::join(2, open + 1);
    play.rounds(8);
    assert_eq!(play.plan(0).proxies, 2);
    assert!(play.plan(0).room >= 33, "{}", play.plan(0).room);
}

#[test]
fn the_lead_goes_where_the_load_is() {
    let mut play = Play::new(97, 0);
    play.newcomer(0);
    play.rounds(3);
    play.newcomer(50);
    play.rounds(16);
    assert_eq!(play.ranks(), [FOLLOWER, LEADER]);
}

#[test]
fn a_role_and_a_database_may_have_limits_of_their_own() {
    let mut alliance = Alliance::join(1, 0);
    let gossip = alliance.speak(Own { open: 2, ..Own::default() });
    let peer = Peer { pid: 1, rung: None, is_kin: true, gossip };
    let other = Peer { pid: 2, is_kin: false, gossip: Gossip { id: 2, ..gossip }, ..peer.clone() };
    let bound = |limit, used| Bound { limit, used };
    let mut look = Look { me: 1, slots: 97, all: 4, peers: vec![peer, other], ..Look::default() };
    assert_eq!(alliance.hear(&look, Micros(1)).room, 95);
    // Three of the database's connections are strangers'.
    look.database = bound(Some(20), 7);
    assert_eq!(alliance.hear(&look, Micros(2)).room, 17);
    // The role's limit leaves out what the other one has, by another role.
    look.role = bound(Some(10), 3);
    assert_eq!(alliance.hear(&look, Micros(3)).room, 9 + 2);
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Happening {
    HalfRound(usize),
    Opens(usize, u32),
    Closes(usize, u32),
    Wants(usize, u32),
    Comes(u32),
    Stops(usize),
    Resumes(usize),
    Dies(usize),
    /// It loses the connection to speak on.
    LosesTouch(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let who = 0..4_usize;
    prop_oneof![
        20 => who.clone().prop_map(HalfRound),
        6 => (who.clone(), 1..40_u32).prop_map(|(who, count)| Opens(who, count)),
        3 => (who.clone(), 1..40_u32).prop_map(|(who, count)| Closes(who, count)),
        2 => (who.clone(), 0..60_u32).prop_map(|(who, demand)| Wants(who, demand)),
        1 => (0..60_u32).prop_map(Comes),
        1 => who.clone().prop_map(Stops),
        2 => who.clone().prop_map(Resumes),
        1 => who.clone().prop_map(Dies),
        1 => who.prop_map(LosesTouch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What was closed and not told yet is taken for one's own, which hides as many strangers: that
    /// moment is not played, it is what is to spare for.
    ///
    /// Whatever happens in whatever order: there are never more connections than the server has
    /// room for. Only a newcomer's first, and the one to speak on, come out of what is to spare.
    #[test]
    fn the_sum_is_never_above_the_room(
        foreign in 0_u32..8,
        happenings in proptest::collection::vec((happening(), 1_u64..150), 1..400),
    ) {
        let mut play = Play::new(37, foreign);
        play.newcomer(10);
        play.rounds(2);
        for (what, pause) in happenings {
            let before = play.rights();
            play.now = play.now + Micros::from_millis(pause);
            let mut newcomer = 0;
            let count = play.members.len();
            let whom = |who: usize| who % count.max(1);
            match what {
                Happening::Comes(demand) if count < 4 => {
                    // Its first two, if there is a place for them: else it is refused, or another.
                    if play.rights() + 2 <= play.slots {
                        play.newcomer(demand);
                        newcomer = 1;
                    }
                }
                Happening::Comes(_) => {}
                _ if count == 0 => {}
                Happening::HalfRound(who) => {
                    let who = whom(who);
                    if play.members[who].said.is_some() || play.rights() < play.slots {
                        newcomer = u32::from(play.members[who].said.is_none());
                        play.half_round(who);
                    }
                }
                Happening::Opens(who, more) => {
                    let member = &mut play.members[whom(who)];
                    let most = match member.said {
                        Some(_) => member.cap() - 1,
                        None => member.open.max(1),
                    };
                    if !member.stopped {
                        member.open = member.open.max((member.open + more).min(most));
                    }
                }
                Happening::Closes(who, less) => {
                    let member = &mut play.members[whom(who)];
                    if !member.stopped {
                        member.open = member.open.saturating_sub(less).max(1);
                        let open = member.open + 1;
                        member.said = member.said.map(|said| Gossip { open, ..said });
                        if member.said.is_none() {
                            // Without a word it never opens again what it has closed.
                            member.alliance = Alliance::join(member.alliance.id, open);
                        }
                    }
                }
                Happening::Wants(who, demand) => play.members[whom(who)].demand = demand,
                Happening::Stops(who) => {
                    play.members[whom(who)].stopped = true;
                }
                Happening::Resumes(who) => play.members[whom(who)].stopped = false,
                Happening::Dies(who) => drop(play.members.swap_remove(whom(who))),
                Happening::LosesTouch(who) => {
                    play.born += 1;
                    let (who, pid) = (whom(who), play.born);
                    let member = &mut play.members[who];
                    (member.said, member.rung, member.looks) = (None, None, false);
                    let id = u32::try_from(member.pid).expect("few");
                    (member.alliance, member.pid) = (Alliance::join(id, member.open + 1), pid);
                }
            }
            let (all, rights) = (play.all(), play.rights());
            let most = (play.slots - SPARE).max(before) + newcomer;
            prop_assert!(rights <= most, "{rights} after {what:?}");
            prop_assert!(all <= rights && all <= play.slots, "{all} after {what:?}");
        }
    }
}
