//! Random events against simple invariants.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Insert {
        sync: u8,
        schedule: u8,
        start_in: Option<u32>,
        memory: u64,
    },
    Remove(u8),
    Trigger(u8),
    Pause(u8),
    Resume(u8),
    Reschedule(u8, u8),
    /// One of those that run ends.
    End {
        which: u8,
        how: u8,
        moved: bool,
    },
    Pass(u32),
    Jump(i64),
    Restart,
}

const SCHEDULES: [Option<&str>; 6] = [
    None,
    Some("every 30 seconds"),
    Some("every 5 minutes"),
    Some("every day"),
    Some("*/7 * * * *"),
    Some("30 2 * * * Europe/Berlin"),
];
const LIMITS: Admission = Admission { runs: 3, memory: 100, kept: 0 };

fn event() -> impl Strategy<Value = Event> {
    let sync = 0..12_u8;
    let start_in = prop::option::weighted(0.2, 0..200_000_000_u32);
    prop_oneof![
        4 => (sync.clone(), 0..6_u8, start_in, prop_oneof![1..60_u64, 90..150_u64])
            .prop_map(|(sync, schedule, start_in, memory)| Event::Insert { sync, schedule, start_in, memory }),
        1 => sync.clone().prop_map(Event::Remove),
        3 => sync.clone().prop_map(Event::Trigger),
        1 => sync.clone().prop_map(Event::Pause),
        2 => sync.clone().prop_map(Event::Resume),
        1 => (sync, 0..6_u8).prop_map(|(sync, schedule)| Event::Reschedule(sync, schedule)),
        10 => (any::<u8>(), 0..11_u8, any::<bool>()).prop_map(|(which, how, moved)| Event::End { which, how, moved }),
        8 => prop_oneof![0..2_000_u32, 0..400_000_u32, 0..100_000_000_u32].prop_map(Event::Pass),
        1 => prop_oneof![-3_000_i64..0, -400_000_000..400_000_000_i64].prop_map(Event::Jump),
        1 => Just(Event::Restart),
    ]
}

fn how(how: u8) -> Ended {
    match how {
        0..=2 => Ended::Succeeded,
        3 => transient(),
        4 => Ended::Failed { code: "c".into(), message: "m".into(), transient: true, retry_after_ms: Some(1_000_000) },
        5 => permanent(),
        6 => stopped(StopReason::TimedOut),
        7 => stopped(StopReason::OutOfFuel),
        8 => stopped(StopReason::Interrupted),
        9 => stopped(StopReason::Cancelled),
        _ => Ended::Parked,
    }
}

fn group(sync: u8, memory: u64) -> Placement {
    Placement {
        environment: format!("e{}", sync % 3),
        connection: format!("c{}", sync % 4),
        memory,
        suspect: sync.is_multiple_of(5),
    }
}

/// The planner, and what a simple-minded observer knows of it.
struct World {
    planner: Planner<String>,
    /// What the clock shows.
    clock: Timestamp,
    /// What time it is: a clock that trembles is not believed.
    now: Timestamp,
    /// Those that run, and with how much memory.
    running: BTreeMap<String, u64>,
    placed: BTreeMap<String, Placement>,
    /// Starts of others since it became due.
    waited: BTreeMap<String, usize>,
}

impl World {
    fn start(&mut self) {
        let starts = self.planner.due(self.clock);
        for start in starts {
            let memory = self.placed[&start.key].memory;
            assert!(self.running.insert(start.key.clone(), memory).is_none(), "{} runs twice", start.key);
            let plan = self.planner.plan(&start.key).unwrap();
            assert_eq!(plan.running.as_ref().unwrap().cause, start.cause);
            assert!(start.cause == Cause::Triggered || !plan.is_paused(), "{} is paused", start.key);
            self.waited.remove(&start.key);
            self.waited.values_mut().for_each(|count| *count += 1);
        }
        self.check();
    }

    fn check(&mut self) {
        let used: u64 = self.running.values().sum();
        assert!(self.running.len() <= LIMITS.runs as usize);
        let suspects = self.running.keys().filter(|key| self.placed.get(*key).is_some_and(|it| it.suspect)).count();
        assert!(suspects <= 1, "{suspects} suspects at once");
        assert!(used <= LIMITS.memory || self.running.len() == 1, "{used} bytes in {}", self.running.len());
        assert_eq!((self.planner.running() as usize, self.planner.memory()), (self.running.len(), used));

        let mut due = BTreeSet::new();
        let mut timers = BTreeSet::new();
        for key in self.placed.keys() {
            let plan = self.planner.plan(key).unwrap();
            assert_eq!(plan.running.is_some(), self.running.contains_key(key));
            assert!(plan.running.is_none() || plan.next_run_at.is_none());
            match plan.next_run_at {
                Some(at) if at <= self.now => assert!(due.insert(key.clone())),
                Some(at) => {
                    timers.insert(at);
                }
                None => {}
            }
            // An active sync with a schedule always has something to come.
            let idle = plan.schedule.is_some() && !plan.is_paused() && plan.running.is_none();
            assert!(!idle || plan.next_run_at.is_some(), "{key} is forgotten: {plan:?}");
            if let (Some(Schedule::Every { ms }), Some(next), Cause::Scheduled) =
                (&plan.schedule, plan.next_run_at, plan.next_cause)
            {
                let start = plan.start_at.unwrap_or_default();
                let bound = (self.now.0 + ms + (ms / 10).min(MINUTE)).max(start.0);
                assert!(next.0 <= bound, "{key} waits too long: {} > {bound}", next.0);
            }
        }
        self.waited.retain(|key, _| due.contains(key));
        for key in &due {
            let waited = *self.waited.entry(key.clone()).or_default();
            // Three environments, at most four connections each and three syncs of each of these.
            // Suspects, eight of these, take turns among themselves.
            let rounds = if self.placed[key].suspect { 8 } else { 1 };
            assert!(waited <= 3 * 4 * 3 * rounds, "{key} starves: {waited}");
        }
        // After `due`, whatever is due waits for a slot or for memory, and the wake is that of the first timer.
        let wake = self.planner.next_wake(self.clock);
        assert!(wake.is_none_or(|wake| wake > self.now), "nothing may start, yet it wakes at {wake:?}");
        if due.is_empty() && self.running.len() < LIMITS.runs as usize {
            assert_eq!(wake, timers.first().copied());
        } else {
            assert!(!self.running.is_empty(), "{due:?} are due and nothing runs");
        }
    }

    fn set(&mut self, clock: Timestamp) {
        self.clock = clock;
        let now = if self.now.since(clock) > SECOND { clock } else { self.now.max(clock) };
        self.now = now;
        // Whoever may start is not slept past.
        let due = self
            .placed
            .keys()
            .any(|key| self.planner.plan(key).is_some_and(|plan| plan.next_run_at.is_some_and(|at| at <= now)));
        if due && self.running.is_empty() {
            assert_eq!(self.planner.next_wake(clock), Some(clock));
        }
    }

    fn apply(&mut self, event: &Event) {
        let now = self.clock;
        match event {
            Event::Insert { sync, schedule: which, start_in, memory } => {
                let key = format!("sync-{sync}");
                let schedule = SCHEDULES[usize::from(*which)].map(schedule);
                let plan = Plan::new(schedule, start_in.map(|ms| after(now, ms.into())), now);
                self.planner.insert(&key, group(*sync, *memory), plan, now);
                self.placed.insert(key, group(*sync, *memory));
            }
            Event::Remove(sync) => {
                let key = format!("sync-{sync}");
                self.planner.remove(&key);
                self.placed.remove(&key);
            }
            Event::Trigger(sync) => {
                let key = format!("sync-{sync}");
                assert_eq!(self.planner.trigger(&key, now).is_some(), self.placed.contains_key(&key));
            }
            Event::Pause(sync) => {
                let _ = self.planner.pause(&format!("sync-{sync}"), None, now);
            }
            Event::Resume(sync) => {
                let _ = self.planner.resume(&format!("sync-{sync}"), now);
            }
            Event::Reschedule(sync, which) => {
                let schedule = SCHEDULES[usize::from(*which)].map(schedule);
                let _ = self.planner.set_schedule(&format!("sync-{sync}"), schedule, None, now);
            }
            Event::End { which, how: outcome, moved } => {
                let Some(key) = self.running.keys().nth(usize::from(*which) % self.running.len().max(1)).cloned()
                else {
                    return;
                };
                self.running.remove(&key);
                let end = End { outcome: how(*outcome), checkpoint_moved: *moved };
                assert_eq!(self.planner.ended(&key, &end, now).is_some(), self.placed.contains_key(&key));
                assert!(self.planner.ended(&key, &end, now).is_none(), "a run ends once");
            }
            Event::Pass(ms) => self.set(after(now, u64::from(*ms))),
            Event::Jump(ms) => self.set(Timestamp(now.0.saturating_add_signed(*ms))),
            Event::Restart => {
                let rows: Vec<_> = (self.placed.iter())
                    .map(|(key, placement)| {
                        let row = serde_json::to_string(self.planner.plan(key).unwrap()).unwrap();
                        (key.clone(), placement.clone(), serde_json::from_str::<Plan>(&row).unwrap())
                    })
                    .collect();
                self.planner = Planner::new(LIMITS);
                self.now = now;
                self.running.clear();
                self.waited.clear();
                for (key, placement, plan) in rows {
                    let (ran, paused) = (plan.running.is_some(), plan.is_paused());
                    self.planner.insert(&key, placement, plan, now);
                    let plan = self.planner.plan(&key).unwrap();
                    assert!(
                        !ran || paused || plan.stalled || plan.next_run_at.is_some_and(|at| at <= now),
                        "goes on at once"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(events in prop::collection::vec(event(), 1..150)) {
        let mut world = World {
            planner: Planner::new(LIMITS),
            clock: T0,
            now: T0,
            running: BTreeMap::new(),
            placed: BTreeMap::new(),
            waited: BTreeMap::new(),
        };
        world.start();
        for event in &events {
            world.apply(event);
            world.start();
        }
        // In the end every run ends well and everything is returned, and who is active and due has run.
        for _ in 0..50 {
            let Some(key) = world.running.keys().next().cloned() else { break };
            world.running.remove(&key);
            world.planner.ended(&key, &ok(), world.clock);
            world.start();
        }
        prop_assert!(world.running.is_empty());
        prop_assert_eq!((world.planner.running(), world.planner.memory()), (0, 0));
        for key in world.placed.keys() {
            let plan = world.planner.plan(key).unwrap();
            prop_assert!(plan.next_run_at.is_none_or(|at| at > world.now));
            prop_assert!(plan.trigger.is_none());
        }
    }
}
