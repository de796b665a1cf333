//! The scheduler's door: timers, admission, and who is running.
//!
//! A sync is in exactly one of five places: it runs and holds a slot, it is due and in the queue, it is due and held back as a
//! suspect while another one is in the queue or runs, it has a timer, or nothing is to come. Each call first takes note of the time, then takes the sync out of its place, changes its plan, and puts it
//! where it then belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use sha2::Digest as _;

use super::plan::{Cause, End, Plan};
use super::queue::Queue;
use super::schedule::Schedule;
use crate::ids::Timestamp;

/// The clock may be this far behind the latest time seen before it counts as set back: callers on several threads read it
/// in another order than they call, and clocks are slewed.
const BACKWARD_TOLERANCE_MS: u64 = 1_000;

/// What active runs may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Runs at once; with 0 nothing starts.
    pub runs: u32,
    /// The sum of the memory limits in bytes, of syncs and of others. What is larger than this runs alone.
    pub memory: u64,
    /// Of these bytes what syncs leave to others.
    pub kept: u64,
}

/// To whom a sync's runs are charged, and how much of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The environment; these take turns.
    pub environment: String,
    /// The connection; those of an environment take turns too.
    pub connection: String,
    /// The memory limit of one of its runs, in bytes.
    pub memory: u64,
    /// Whether its script is suspected to take the process down. Of suspects one runs at a time, so that none is blamed for
    /// another.
    pub suspect: bool,
}

/// Start a run of this sync now. It holds its slot until [`Planner::ended`], also if it could not be started after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start<K> {
    /// Which sync.
    pub key: K,
    /// When it was due.
    pub due_at: Timestamp,
    /// Why.
    pub cause: Cause,
}

/// What became of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggered {
    /// A run is due now.
    Now,
    /// A run is under way; there will be one more after it.
    AfterRun,
    /// One was asked for before and has not started; it is the same.
    Coalesced,
}

/// Plans the runs of all syncs of all environments. See the module `scheduler` for what it promises.
///
/// `K` identifies a sync over all environments. Its text has to tell keys apart and be the same after a restart: jitter is
/// derived from it.
#[derive(Debug)]
pub struct Planner<K> {
    limits: Admission,
    syncs: BTreeMap<K, Sync>,
    timers: BTreeSet<(Timestamp, K)>,
    due: Queue<K>,
    /// The one suspect that is in the queue or runs …
    suspect: Option<K>,
    /// … and the others that are due.
    held: BTreeSet<(Timestamp, K)>,
    running: u32,
    /// What is taken, by syncs and by others.
    memory: u64,
    /// What of it others have.
    others: u64,
    /// Whether somebody waits for more memory than syncs leave: then none of them starts.
    yielding: bool,
    /// The latest time seen since the clock was last set back.
    now: Timestamp,
}

#[derive(Debug)]
struct Sync {
    plan: Plan,
    placement: Placement,
    seed: u64,
    /// The memory that its run holds, while one is under way.
    slot: Option<u64>,
    place: Place,
    /// Removed while a run was under way: the slot is still taken.
    removed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Nowhere,
    Timer(Timestamp),
    Due(Timestamp),
    Held(Timestamp),
}

/// Others than syncs have at most one part in so many of the memory: who calls actions without pause stops no sync.
const OTHERS_PART: u64 = 2;

impl<K: Ord + Clone + Display> Planner<K> {
    /// A planner without syncs.
    #[must_use]
    pub fn new(limits: Admission) -> Self {
        Self {
            limits,
            syncs: BTreeMap::new(),
            timers: BTreeSet::new(),
            due: Queue::new(),
            suspect: None,
            held: BTreeSet::new(),
            running: 0,
            memory: 0,
            others: 0,
            yielding: false,
            now: Timestamp(0),
        }
    }

    /// A new sync, or one as it was read at the start, or another plan or placement for one that is there. What it is from
    /// now on [`Planner::plan`] tells.
    ///
    /// A plan with a run under way means a crash, and is due at once, unless this planner knows that run: then it goes on
    /// and holds its slot.
    pub fn insert(&mut self, key: &K, placement: Placement, plan: Plan, now: Timestamp) {
        let now = self.observe(now);
        self.leave(key);
        let known = self.syncs.remove(key);
        let mut sync = Sync { plan, placement, seed: seed(key), slot: None, place: Place::Nowhere, removed: false };
        if let Some(known) = known.filter(|known| known.slot.is_some()) {
            sync.slot = known.slot;
            match (sync.placement.suspect, &self.suspect) {
                (true, None) => self.suspect = Some(key.clone()),
                (false, Some(suspect)) if suspect == key => self.suspect = None,
                _ => {}
            }
            sync.plan.running = known.plan.running;
            sync.plan.next_run_at = None;
        } else {
            sync.plan.on_insert(sync.seed, now);
        }
        self.syncs.insert(key.clone(), sync);
        self.join(key);
        self.next_suspect();
    }

    /// Whether the script of a sync is suspected from now on.
    pub fn set_suspect(&mut self, key: &K, suspect: bool, now: Timestamp) {
        let Some(sync) = self.syncs.get(key).filter(|sync| !sync.removed) else { return };
        let placement = Placement { suspect, ..sync.placement.clone() };
        let plan = sync.plan.clone();
        self.insert(key, placement, plan, now);
    }

    /// Forgets a sync. A run under way keeps its slot until it ends.
    pub fn remove(&mut self, key: &K) {
        self.leave(key);
        match self.syncs.get_mut(key) {
            Some(sync) if sync.slot.is_some() => sync.removed = true,
            _ => {
                self.syncs.remove(key);
            }
        }
        self.next_suspect();
    }

    /// A sync's plan.
    #[must_use]
    pub fn plan(&self, key: &K) -> Option<&Plan> {
        self.syncs.get(key).filter(|sync| !sync.removed).map(|sync| &sync.plan)
    }

    /// How many runs are under way.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How much memory they and others hold, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Memory for what is no sync's run. Says whether there was that much; if not, who asks again gets it before syncs do,
    /// where that is more than they leave.
    pub fn take_memory(&mut self, memory: u64) -> bool {
        let Admission { memory: all, kept, .. } = self.limits;
        let fits = self.memory.saturating_add(memory) <= all;
        let is_share = self.others.saturating_add(memory) <= all / OTHERS_PART;
        let taken = (fits && (is_share || self.others == 0)) || self.memory == 0;
        self.yielding = !taken && memory > kept && self.others == 0;
        if taken {
            self.memory = self.memory.saturating_add(memory);
            self.others = self.others.saturating_add(memory);
        }
        taken
    }

    /// Nobody waits for memory any more.
    pub fn yield_no_more(&mut self) {
        self.yielding = false;
    }

    /// Memory that was taken is free again.
    pub fn give_memory(&mut self, memory: u64) {
        self.memory = self.memory.saturating_sub(memory);
        self.others = self.others.saturating_sub(memory);
    }

    /// Somebody asks for a run now. Several asks are one run; during a run they are one more after it, however that one
    /// ends. A sync that a failure paused is resumed by it, one that the operator paused runs once and stays paused.
    /// `None`: there is no such sync.
    pub fn trigger(&mut self, key: &K, now: Timestamp) -> Option<Triggered> {
        let now = self.observe(now);
        let sync = self.syncs.get(key).filter(|sync| !sync.removed)?;
        let became = match (sync.slot, &sync.plan.trigger) {
            (_, Some(_)) => Triggered::Coalesced,
            (Some(_), None) => Triggered::AfterRun,
            (None, None) => Triggered::Now,
        };
        self.change(key, |plan, _| plan.on_trigger(now))?;
        Some(became)
    }

    /// The operator pauses a sync: nothing of it starts until it is resumed or triggered, and a trigger that waits is
    /// dropped. A run under way goes on; whoever wants it to stop cancels it.
    pub fn pause(&mut self, key: &K, reason: Option<String>, now: Timestamp) -> Option<&Plan> {
        self.observe(now);
        self.change(key, |plan, _| plan.on_pause(reason))
    }

    /// A paused sync runs by itself again, whoever paused it: at once if its last run left work over, else with the next
    /// tick.
    pub fn resume(&mut self, key: &K, now: Timestamp) -> Option<&Plan> {
        let now = self.observe(now);
        self.change(key, |plan, seed| plan.on_resume(seed, now))
    }

    /// Another schedule. The same one changes nothing. A new period counts from the last run.
    pub fn set_schedule(
        &mut self,
        key: &K,
        schedule: Option<Schedule>,
        start_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<&Plan> {
        let now = self.observe(now);
        self.change(key, |plan, seed| plan.on_schedule(schedule, start_at, seed, now))
    }

    /// Those that start now, in this order; each holds a slot from here on. Their plans have changed: they are running.
    ///
    /// If the one whose turn it is needs more memory than is free, nothing overtakes it: else small runs could keep a large
    /// one out forever.
    pub fn due(&mut self, now: Timestamp) -> Vec<Start<K>> {
        let now = self.observe(now);
        let mut starts = Vec::new();
        while self.may_start() {
            let Some(key) = self.due.pop() else { break };
            let Some(sync) = self.syncs.get_mut(&key) else { continue };
            let (due_at, cause) = (sync.plan.next_run_at.unwrap_or(now), sync.plan.next_cause);
            sync.place = Place::Nowhere;
            sync.slot = Some(sync.placement.memory);
            sync.plan.on_start(now);
            self.running += 1;
            self.memory = self.memory.saturating_add(sync.placement.memory);
            starts.push(Start { key, due_at, cause });
        }
        starts
    }

    /// A run ended; its slot is free. Returns the plan to persist; `None` if the sync was removed meanwhile, or was not
    /// running.
    pub fn ended(&mut self, key: &K, end: &End, now: Timestamp) -> Option<&Plan> {
        let now = self.observe(now);
        let sync = self.syncs.get_mut(key)?;
        let memory = sync.slot.take()?;
        self.running = self.running.saturating_sub(1);
        self.memory = self.memory.saturating_sub(memory);
        let removed = sync.removed;
        // One that is due again at once goes behind those that were held back for it.
        if self.suspect.as_ref() == Some(key) {
            self.suspect = None;
            self.next_suspect();
        }
        if removed {
            self.syncs.remove(key);
            return None;
        }
        self.change(key, |plan, seed| plan.on_end(end, seed, now))
    }

    /// When [`Planner::due`] may have something to start: ask it then, and after every other call. `None`: not before
    /// another call. A clock may jump, so nobody should sleep until then without looking at the clock now and again.
    #[must_use]
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_set_back(now) || self.may_start() {
            return Some(now);
        }
        // Somebody is due and does not fit, or every slot is taken: until a run ends no timer changes that.
        if self.running >= self.limits.runs || !self.due.is_empty() {
            return None;
        }
        self.timers.first().map(|(at, _)| (*at).max(now))
    }

    fn is_set_back(&self, now: Timestamp) -> bool {
        self.now.since(now) > BACKWARD_TOLERANCE_MS
    }

    /// Takes note of the time and returns the one to reckon with.
    fn observe(&mut self, now: Timestamp) -> Timestamp {
        if self.is_set_back(now) {
            let back = self.now.since(now);
            self.now = now;
            let keys: Vec<K> = self.syncs.keys().cloned().collect();
            for key in keys {
                self.change(&key, |plan, seed| plan.on_clock_set_back(back, seed, now));
            }
        }
        self.now = self.now.max(now);
        while let Some((at, key)) = self.timers.pop_first() {
            if at > self.now {
                self.timers.insert((at, key));
                break;
            }
            self.join(&key);
        }
        self.now
    }

    /// Whether the one whose turn it is may start.
    fn may_start(&self) -> bool {
        let Some(next) = self.due.peek().and_then(|key| self.syncs.get(key)) else { return false };
        let Admission { runs, memory: all, kept } = self.limits;
        let memory = next.placement.memory;
        let of_syncs = self.memory.saturating_sub(self.others);
        let fits = self.memory.saturating_add(memory) <= all && of_syncs.saturating_add(memory) <= all - kept.min(all);
        let fits_alone = of_syncs == 0 && self.memory.saturating_add(memory) <= all;
        self.running < runs && !self.yielding && (fits || fits_alone || self.memory == 0)
    }

    fn change(&mut self, key: &K, change: impl FnOnce(&mut Plan, u64)) -> Option<&Plan> {
        self.leave(key);
        let sync = self.syncs.get_mut(key).filter(|sync| !sync.removed)?;
        change(&mut sync.plan, sync.seed);
        self.join(key);
        self.next_suspect();
        self.plan(key)
    }

    /// Lets the suspect into the queue that is due the longest, if there is none in it and none runs.
    fn next_suspect(&mut self) {
        if self.suspect.is_none()
            && let Some((_, key)) = self.held.pop_first()
        {
            self.join(&key);
        }
    }

    /// Takes a sync out of its place.
    fn leave(&mut self, key: &K) {
        let Some(sync) = self.syncs.get_mut(key) else { return };
        match std::mem::replace(&mut sync.place, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Timer(at) => {
                self.timers.remove(&(at, key.clone()));
            }
            Place::Due(at) => {
                self.due.remove(&sync.placement.environment, &sync.placement.connection, at, key);
                if self.suspect.as_ref() == Some(key) {
                    self.suspect = None;
                }
            }
            Place::Held(at) => {
                self.held.remove(&(at, key.clone()));
            }
        }
    }

    /// Puts a sync where its plan says.
    fn join(&mut self, key: &K) {
        let Some(sync) = self.syncs.get_mut(key) else { return };
        sync.place = match sync.plan.next_run_at {
            Some(at) if sync.slot.is_none() && at <= self.now && sync.placement.suspect && self.suspect.is_some() => {
                self.held.insert((at, key.clone()));
                Place::Held(at)
            }
            Some(at) if sync.slot.is_none() && at <= self.now => {
                if sync.placement.suspect {
                    self.suspect = Some(key.clone());
                }
                self.due.push(&sync.placement.environment, &sync.placement.connection, at, key.clone());
                Place::Due(at)
            }
            Some(at) if sync.slot.is_none() => {
                self.timers.insert((at, key.clone()));
                Place::Timer(at)
            }
            _ => Place::Nowhere,
        };
    }
}

/// A number that tells keys apart and is the same after every restart.
fn seed(key: &impl Display) -> u64 {
    sha2::Sha256::digest(key.to_string()).iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
