//! Who comes next of those that are due: environments in turn, in each its connections in turn, in each of these by due time.
//!
//! A group that has had its turn goes to the end of its ring, and a new one starts there, so a turn is at most one round
//! away however many of the others are due. `push` and `pop` cost O(log n); only `remove` looks through a ring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::Timestamp;

/// The due, grouped. Keys are unique over all groups.
#[derive(Debug)]
pub(super) struct Queue<K> {
    environments: Ring<Ring<BTreeSet<(Timestamp, K)>>>,
}

/// Named groups and whose turn it is. A group is in the ring exactly while it is in the map, which is while it holds
/// something.
#[derive(Debug)]
struct Ring<T> {
    groups: BTreeMap<String, T>,
    turns: VecDeque<String>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { groups: BTreeMap::new(), turns: VecDeque::new() }
    }
}

impl<T: Default> Ring<T> {
    fn group(&mut self, name: &str) -> &mut T {
        if !self.groups.contains_key(name) {
            self.turns.push_back(name.to_owned());
        }
        self.groups.entry(name.to_owned()).or_default()
    }

    fn first(&self) -> Option<&T> {
        self.groups.get(self.turns.front()?)
    }

    /// Takes one thing of the group whose turn it is. `take` also says whether the group is empty after it.
    fn take<R>(&mut self, take: impl FnOnce(&mut T) -> (Option<R>, bool)) -> Option<R> {
        let name = self.turns.pop_front()?;
        let (taken, is_empty) = take(self.groups.get_mut(&name)?);
        if is_empty {
            self.groups.remove(&name);
        } else {
            self.turns.push_back(name);
        }
        taken
    }

    fn forget(&mut self, name: &str) {
        self.groups.remove(name);
        self.turns.retain(|turn| turn != name);
    }
}

impl<K: Ord + Clone> Queue<K> {
    pub(super) fn new() -> Self {
        Self { environments: Ring::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.environments.groups.is_empty()
    }

    pub(super) fn push(&mut self, environment: &str, connection: &str, due: Timestamp, key: K) {
        self.environments.group(environment).group(connection).insert((due, key));
    }

    /// The next one, which stays.
    pub(super) fn peek(&self) -> Option<&K> {
        self.environments.first()?.first()?.first().map(|(_, key)| key)
    }

    /// The next one; its groups go to the ends of their rings.
    pub(super) fn pop(&mut self) -> Option<K> {
        self.environments.take(|connections| {
            let taken = connections.take(|due| (due.pop_first().map(|(_, key)| key), due.is_empty()));
            (taken, connections.groups.is_empty())
        })
    }

    pub(super) fn remove(&mut self, environment: &str, connection: &str, due: Timestamp, key: &K) {
        let Some(connections) = self.environments.groups.get_mut(environment) else { return };
        let Some(all) = connections.groups.get_mut(connection) else { return };
        all.remove(&(due, key.clone()));
        if all.is_empty() {
            connections.forget(connection);
        }
        if connections.groups.is_empty() {
            self.environments.forget(environment);
        }
    }
}
