//! Who starts when there are more than slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::*;

fn placed(environment: &str, connection: &str, memory: u64) -> Placement {
    Placement { environment: environment.to_owned(), connection: connection.to_owned(), memory, suspect: false }
}

/// One that is due since `T0`.
fn due(planner: &mut Planner<String>, key: &str, placement: Placement) {
    let plan = Plan { next_run_at: Some(T0), ..Plan::new(Some(schedule("every day")), None, T0) };
    planner.insert(&key.to_owned(), placement, plan, T0);
}

#[test]
fn a_thousand_due_at_once_with_ten_slots_take_turns_and_none_runs_twice() {
    // The first environment has almost all of them, and its first connection half of these.
    let mut planner = Planner::new(Admission { runs: 10, memory: u64::MAX, kept: 0 });
    let mut group_of = BTreeMap::new();
    for k in 0..1_000 {
        let (environment, connection) = match k {
            0..450 => ("big", 0),
            450..900 => ("big", 1 + k % 39),
            900..990 => ("middle", k % 9),
            _ => ("small", k % 2),
        };
        let (key, connection) = (format!("sync-{k}"), format!("{environment}-{connection}"));
        due(&mut planner, &key, placed(environment, &connection, 1));
        group_of.insert(key, (environment, connection));
    }
    let groups: BTreeSet<_> = group_of.values().cloned().collect();
    assert_eq!(groups.len(), 51);

    let (mut order, mut now, mut running) = (Vec::new(), T0, std::collections::VecDeque::new());
    loop {
        for start in planner.due(now) {
            assert_eq!(start.due_at, T0);
            order.push(start.key.clone());
            running.push_back(start.key);
        }
        assert!(planner.running() <= 10 && planner.running() as usize == running.len());
        let Some(key) = running.pop_front() else { break };
        now = after(now, SECOND);
        planner.ended(&key, &ok(), now).unwrap();
    }
    assert_eq!(order.len(), 1_000);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 1_000);

    // While an environment has something due it gets each third place, and alone it gets all.
    let position = |environment: &str| -> Vec<usize> {
        (0..order.len()).filter(|k| group_of[&order[*k]].0 == environment).collect()
    };
    assert!(*position("small").last().unwrap() < 3 * 10, "{:?}", position("small"));
    assert!(*position("middle").last().unwrap() < 3 * 10 + 2 * 80, "{:?}", position("middle").last());
    // Within one, the k-th of a connection is not later than the k-th round over the connections.
    for (environment, connection) in &groups {
        let of_environment = order.iter().filter(|key| group_of[*key].0 == *environment);
        let connections = groups.iter().filter(|group| group.0 == *environment).count();
        let places =
            of_environment.enumerate().filter(|(_, key)| group_of[*key].1 == *connection).map(|(place, _)| place);
        for (round, place) in places.enumerate() {
            assert!(place < (round + 1) * connections, "{connection}: number {round} at {place}");
        }
    }
}

#[test]
fn within_a_connection_the_one_that_is_due_longest_comes_first() {
    let mut planner = Planner::new(Admission { runs: 1, memory: 1, kept: 0 });
    for (key, at) in [("b", 2), ("a", 3), ("c", 1)] {
        let plan = Plan { next_run_at: Some(after(T0, at)), ..Plan::new(Some(schedule("every day")), None, T0) };
        planner.insert(&key.to_owned(), placement(), plan, T0);
    }
    let mut order = String::new();
    for _ in 0..3 {
        let starts = planner.due(after(T0, HOUR));
        assert_eq!(starts.len(), 1);
        order.push_str(&starts[0].key);
        planner.ended(&starts[0].key, &ok(), after(T0, HOUR));
    }
    assert_eq!(order, "cba");
}

#[test]
fn a_group_that_comes_back_again_and_again_does_not_keep_another_waiting() {
    let mut planner = Planner::new(Admission { runs: 1, memory: 1, kept: 0 });
    for k in 0..20 {
        due(&mut planner, &format!("greedy-{k}"), placed("greedy", "g", 1));
    }
    let mut waited = 0;
    for round in 0..100 {
        let start = planner.due(T0).pop().unwrap();
        if round == 3 {
            due(&mut planner, "modest", placed("modest", "m", 1));
        }
        if start.key == "modest" {
            assert!(waited <= 2);
            return;
        }
        waited = if round >= 3 { waited + 1 } else { 0 };
        planner.ended(&start.key, &ok(), T0);
        planner.trigger(&start.key, T0);
    }
    panic!("it never ran");
}

#[test]
fn memory_is_admitted_not_only_runs() {
    let mut planner = Planner::new(Admission { runs: 100, memory: 100, kept: 0 });
    for k in 0..10 {
        due(&mut planner, &format!("a{k}"), placed("default", "c", 30));
    }
    let first = planner.due(T0);
    assert_eq!((first.len(), planner.memory()), (3, 90));
    assert_eq!(planner.next_wake(T0), None, "nothing to wake up for until one ends");
    assert!(planner.due(after(T0, MINUTE)).is_empty());
    planner.ended(&first[0].key, &ok(), T0);
    assert_eq!(planner.next_wake(T0), Some(T0));
    assert_eq!((planner.due(T0).len(), planner.memory()), (1, 90));
}

#[test]
fn one_that_is_larger_than_all_memory_runs_alone_and_is_not_overtaken_forever() {
    let mut planner = Planner::new(Admission { runs: 100, memory: 100, kept: 0 });
    due(&mut planner, "a-first", placed("default", "a", 50));
    due(&mut planner, "b-huge", placed("default", "b", 1_000));
    due(&mut planner, "c-last", placed("default", "c", 50));
    let keys = |starts: Vec<Start<String>>| starts.into_iter().map(|start| start.key).collect::<Vec<_>>();
    assert_eq!(keys(planner.due(T0)), ["a-first"]);
    assert_eq!(keys(planner.due(T0)), [""; 0]);
    planner.ended(&"a-first".to_owned(), &ok(), T0);
    assert_eq!(keys(planner.due(T0)), ["b-huge"]);
    assert_eq!(keys(planner.due(T0)), [""; 0], "alone");
    planner.ended(&"b-huge".to_owned(), &ok(), T0);
    assert_eq!(keys(planner.due(T0)), ["c-last"]);
    assert_eq!(planner.memory(), 50);
}

#[test]
fn one_that_waits_in_the_queue_can_be_paused_removed_and_placed_elsewhere() {
    let mut planner = Planner::new(Admission { runs: 1, memory: 1, kept: 0 });
    for key in ["a", "b", "c", "d"] {
        due(&mut planner, key, placed(key, key, 1));
    }
    assert_eq!(planner.due(T0)[0].key, "a");
    planner.pause(&"b".to_owned(), None, T0).unwrap();
    planner.remove(&"c".to_owned());
    due(&mut planner, "d", placed("a", "a", 1));
    planner.ended(&"a".to_owned(), &ok(), T0);
    assert_eq!(planner.due(T0)[0].key, "d");
    planner.ended(&"d".to_owned(), &ok(), T0);
    assert!(planner.due(T0).is_empty());
}

#[test]
fn with_no_slot_at_all_nothing_starts() {
    let mut planner = Planner::new(Admission { runs: 0, memory: 1, kept: 0 });
    due(&mut planner, "a", placement());
    assert!(planner.due(T0).is_empty());
    assert_eq!(planner.next_wake(T0), None);
}

/// Not a bench: a quadratic one takes minutes, this one well below a second, also on a busy machine and unoptimized.
#[test]
fn twenty_thousand_due_at_once_are_no_matter() {
    let began = Instant::now();
    let mut planner = Planner::new(Admission { runs: 10, memory: u64::MAX, kept: 0 });
    for k in 0..20_000 {
        due(&mut planner, &format!("sync-{k}"), placed(&format!("e{}", k % 3), &format!("c{}", k % 50), 1));
    }
    let mut ran = 0;
    loop {
        let starts = planner.due(T0);
        if starts.is_empty() {
            break;
        }
        for start in &starts {
            ran += 1;
            assert!(planner.due(T0).is_empty());
            assert_eq!(planner.next_wake(T0), None);
            assert_eq!(start.due_at, T0);
        }
        for start in starts {
            planner.ended(&start.key, &ok(), T0).unwrap();
        }
    }
    assert!(ran == 20_000 && began.elapsed().as_secs() < 30, "{ran} in {:?}", began.elapsed());
}

fn keys(starts: Vec<Start<String>>) -> Vec<String> {
    starts.into_iter().map(|start| start.key).collect()
}

#[test]
fn of_suspects_one_runs_at_a_time_and_those_that_are_held_back_come_before_it_comes_again() {
    let mut planner = Planner::new(Admission { runs: 10, memory: 100, kept: 0 });
    let suspect = |name: &str| Placement { suspect: true, ..placed("default", name, 1) };
    for key in ["a", "b", "c"] {
        due(&mut planner, key, suspect(key));
    }
    due(&mut planner, "other", placed("default", "other", 1));
    assert_eq!(keys(planner.due(T0)), ["a", "other"]);
    assert!(planner.due(T0).is_empty());
    // What it left over is due at once, and waits its turn.
    let parked = End { outcome: Ended::Parked, checkpoint_moved: true };
    planner.ended(&"a".to_owned(), &parked, T0);
    assert_eq!(keys(planner.due(T0)), ["b"]);
    planner.ended(&"b".to_owned(), &parked, T0);
    let third = keys(planner.due(T0));
    assert_eq!(third.len(), 1, "{third:?}");
    planner.remove(&third[0]);
    assert!(planner.due(T0).is_empty(), "its run is still under way");
    planner.ended(&third[0], &ok(), T0);
    assert_eq!(planner.due(T0).len(), 1);
}

#[test]
fn who_is_suspected_no_more_runs_beside_others_and_who_is_from_now_on_does_not() {
    let mut planner = Planner::new(Admission { runs: 10, memory: 100, kept: 0 });
    for key in ["a", "b", "c"] {
        due(&mut planner, key, Placement { suspect: true, ..placed("default", key, 1) });
    }
    assert_eq!(keys(planner.due(T0)), ["a"]);
    planner.set_suspect(&"b".to_owned(), false, T0);
    assert_eq!(keys(planner.due(T0)), ["b"]);
    planner.set_suspect(&"a".to_owned(), false, T0);
    assert_eq!(keys(planner.due(T0)), ["c"], "the one that ran is none any more");
    planner.set_suspect(&"a".to_owned(), true, T0);
    planner.ended(&"c".to_owned(), &ok(), T0);
    planner.trigger(&"c".to_owned(), T0);
    assert_eq!(keys(planner.due(T0)), ["c"], "while there were two, the second holds nobody back");
    assert_eq!(planner.running(), 3);
}

#[test]
fn memory_for_others_is_kept_by_syncs_and_others_leave_half_of_it() {
    let mut planner = Planner::new(Admission { runs: 100, memory: 100, kept: 20 });
    for key in ["a", "b", "c"] {
        due(&mut planner, key, placed("default", key, 40));
    }
    assert_eq!(keys(planner.due(T0)), ["a", "b"]);
    assert!(planner.take_memory(15));
    assert!(!planner.take_memory(10), "there is no more");
    planner.ended(&"a".to_owned(), &ok(), T0);
    assert!(planner.take_memory(35));
    assert!(!planner.take_memory(1), "they have their half");
    assert_eq!(planner.memory(), 90);
    assert!(planner.due(T0).is_empty());
    planner.give_memory(50);
    assert_eq!(keys(planner.due(T0)), ["c"]);
}

#[test]
fn who_waits_for_more_memory_than_syncs_leave_is_not_overtaken_by_them() {
    let mut planner = Planner::new(Admission { runs: 100, memory: 100, kept: 20 });
    for key in ["a", "b", "c"] {
        due(&mut planner, key, placed("default", key, 40));
    }
    assert_eq!(keys(planner.due(T0)), ["a", "b"]);
    assert!(!planner.take_memory(1_000));
    planner.ended(&"a".to_owned(), &ok(), T0);
    assert!(planner.due(T0).is_empty() && !planner.take_memory(1_000));
    planner.ended(&"b".to_owned(), &ok(), T0);
    assert!(planner.take_memory(1_000), "more than all there is goes alone");
    assert!(planner.due(T0).is_empty() && !planner.take_memory(1));
    planner.give_memory(1_000);
    assert_eq!(keys(planner.due(T0)), ["c"]);
    // Who gives up lets them go on.
    assert!(!planner.take_memory(1_000));
    due(&mut planner, "d", placed("default", "d", 40));
    assert!(planner.due(T0).is_empty());
    planner.yield_no_more();
    assert_eq!(keys(planner.due(T0)), ["d"]);
}
