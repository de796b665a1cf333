//! The issues of the repository: most of them derived from a seed, the others changed or added since.
//!
//! Invariants. Issues `1..=derived` exist without being held, each created and updated after the one before; what one is
//! (open, closed, a pull request) depends on `number % 10`, so that the k-th open one is found without counting.
//! `changed` holds every issue that is no longer as it is derived, and all above `derived`; each is dated at least as
//! late as every derived one. So a page is a stretch of derived numbers with a few changed issues merged in, and costs
//! the same wherever it is.

use std::collections::BTreeMap;

use super::{mix, words};

/// Between the creations of two derived issues: a million of them reach back nine and a half years.
const SPACING_MS: u64 = 300_000;

/// One issue or pull request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issue {
    /// The title.
    pub title: String,
    /// The text below it.
    pub body: Option<String>,
    /// Open or closed.
    pub state: IssueState,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// How many comments it has.
    pub comments: u64,
    number: u64,
    author: u64,
    created_ms: u64,
    updated_ms: u64,
    closed_ms: Option<u64>,
    pull_request: bool,
}

impl Issue {
    /// Its number, 1 or more.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which user created it.
    pub(super) fn author(&self) -> u64 {
        self.author
    }

    /// When it was created, in Unix milliseconds.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// When it was last changed, in Unix milliseconds.
    #[must_use]
    pub fn updated_ms(&self) -> u64 {
        self.updated_ms
    }

    /// When it was closed, in Unix milliseconds, if it is closed.
    #[must_use]
    pub fn closed_ms(&self) -> Option<u64> {
        self.closed_ms
    }

    /// Whether it is a pull request, which the API lists among the issues.
    #[must_use]
    pub fn is_pull_request(&self) -> bool {
        self.pull_request
    }
}

/// Whether work on an issue goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IssueState {
    /// It does.
    Open,
    /// It does not.
    Closed,
}

/// What a page is a page of. The order is that of numbers or of updates, ascending unless `descending`.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// None for both.
    pub(super) state: Option<IssueState>,
    pub(super) by_update: bool,
    pub(super) descending: bool,
    /// The least `updated_ms`.
    pub(super) since_ms: u64,
}

/// An issue in a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry<'a> {
    /// Never changed; this is its number.
    Derived(u64),
    Changed(&'a Issue),
}

#[derive(Debug)]
pub(super) struct Issues {
    seed: u64,
    /// When issue 0 would have been created.
    origin_ms: u64,
    /// No change is dated before this.
    start_ms: u64,
    derived: u64,
    changed: BTreeMap<u64, Issue>,
}

impl Issues {
    /// `count` issues, the newest created just before `start_ms`.
    pub(super) fn new(seed: u64, count: u64, start_ms: u64) -> Self {
        // Whole seconds, as the API shows no fractions: what is `since` the date of an issue includes the issue.
        let start_ms = start_ms - start_ms % 1000;
        let origin_ms = start_ms.saturating_sub(SPACING_MS.saturating_mul(count.saturating_add(1)));
        Issues { seed, origin_ms, start_ms, derived: count, changed: BTreeMap::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.changed.last_key_value().map_or(0, |(number, _)| *number).max(self.derived)
    }

    pub(super) fn created_ms(&self, number: u64) -> u64 {
        self.origin_ms.saturating_add(SPACING_MS.saturating_mul(number))
    }

    /// Up to four minutes later: before the next issue is created.
    pub(super) fn updated_ms(&self, number: u64) -> u64 {
        self.created_ms(number) + mix(self.seed, number) % 240 * 1000
    }

    /// The issue as it was before any change.
    pub(super) fn derive(&self, number: u64) -> Issue {
        let dice = mix(self.seed, number);
        let (created_ms, updated_ms) = (self.created_ms(number), self.updated_ms(number));
        let state = derived_state(number);
        Issue {
            title: words::title(dice),
            body: Some(words::body(dice)),
            state,
            labels: words::labels(dice),
            comments: dice / 7 % 12,
            number,
            author: dice / 5 % words::AUTHORS,
            created_ms,
            updated_ms,
            closed_ms: (state == IssueState::Closed).then_some(updated_ms),
            pull_request: matches!(number % 10, 4 | 9),
        }
    }

    /// Changes issue `number`, and dates it if that made a difference. False if there is no such issue.
    pub(super) fn update(&mut self, number: u64, now_ms: u64, change: impl FnOnce(&mut Issue)) -> bool {
        let old = match self.changed.get(&number) {
            Some(issue) => issue.clone(),
            None if (1..=self.derived).contains(&number) => self.derive(number),
            None => return false,
        };
        let mut new = old.clone();
        change(&mut new);
        if new != old {
            new.updated_ms = self.date(now_ms);
            if new.state != old.state {
                new.closed_ms = (new.state == IssueState::Closed).then_some(new.updated_ms);
            }
            self.changed.insert(number, new);
        }
        true
    }

    /// Adds an open issue.
    pub(super) fn add(&mut self, title: String, body: Option<String>, labels: Vec<String>, now_ms: u64) -> &Issue {
        let (number, now_ms) = (self.count() + 1, self.date(now_ms));
        self.changed.entry(number).or_insert(Issue {
            title,
            body,
            state: IssueState::Open,
            labels,
            comments: 0,
            number,
            author: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
            closed_ms: None,
            pull_request: false,
        })
    }

    /// Removes the issues above `count`, or adds issues up to it.
    pub(super) fn set_count(&mut self, count: u64, now_ms: u64) {
        self.derived = self.derived.min(count);
        self.changed.retain(|number, _| *number <= count);
        let now_ms = self.date(now_ms);
        for number in self.count() + 1..=count {
            let mut issue = self.derive(number);
            (issue.created_ms, issue.updated_ms) = (now_ms, now_ms);
            issue.closed_ms = issue.closed_ms.map(|_| now_ms);
            self.changed.insert(number, issue);
        }
    }

    /// The date of a change: in whole seconds, and never before the start.
    fn date(&self, now_ms: u64) -> u64 {
        (now_ms - now_ms % 1000).max(self.start_ms)
    }

    /// Page `page` (from 0) of `per_page` issues, and how many issues all pages have.
    pub(super) fn page(&self, selection: &Selection, page: u64, per_page: u64) -> (Vec<Entry<'_>>, u64) {
        let unchanged = Unchanged::new(self, selection);
        let mut changed: Vec<&Issue> = self
            .changed
            .values()
            .filter(|issue| selection.state.is_none_or(|state| state == issue.state))
            .filter(|issue| issue.updated_ms >= selection.since_ms)
            .collect();
        if selection.by_update {
            changed.sort_by_key(|issue| (issue.updated_ms, issue.number));
        }
        // Where each of them stands in ascending order, both kinds counted.
        let places: Vec<u64> = (0..)
            .zip(&changed)
            .map(|(index, issue)| {
                index + if selection.by_update { unchanged.len } else { unchanged.count_before(issue.number) }
            })
            .collect();
        let total = unchanged.len + (0..).zip(&changed).count() as u64;
        let first = page.saturating_mul(per_page).min(total);
        let last = first.saturating_add(per_page).min(total);
        let entries = (first..last).map(|index| if selection.descending { total - 1 - index } else { index });
        let entries = entries.filter_map(|place| match places.binary_search(&place) {
            Ok(at) => changed.get(at).copied().map(Entry::Changed),
            Err(before) => Some(Entry::Derived(unchanged.nth(place - before as u64))),
        });
        (entries.collect(), total)
    }
}

/// What `number % 10` says: three of ten are closed.
fn derived_state(number: u64) -> IssueState {
    if matches!(number % 10, 3 | 6 | 9) { IssueState::Closed } else { IssueState::Open }
}

/// The derived issues that a selection selects and that were never changed, in the order of their numbers.
struct Unchanged {
    /// Which of every ten numbers match, a 10 standing for 0.
    pattern: &'static [u64],
    /// How many numbers match the pattern but come before the first that is new enough.
    skipped: u64,
    /// How many match, are new enough and were not changed.
    len: u64,
    /// The changed ones, as: the number, and how many unchanged ones come before it.
    gaps: Vec<(u64, u64)>,
}

impl Unchanged {
    fn new(issues: &Issues, selection: &Selection) -> Self {
        let pattern: &[u64] = match selection.state {
            None => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            Some(IssueState::Open) => &[1, 2, 4, 5, 7, 8, 10],
            Some(IssueState::Closed) => &[3, 6, 9],
        };
        let (mut low, mut high) = (1, issues.derived + 1);
        while low < high {
            let middle = u64::midpoint(low, high);
            if issues.updated_ms(middle) < selection.since_ms { low = middle + 1 } else { high = middle }
        }
        let skipped = matching_until(pattern, low - 1);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let changed = issues.changed.range(low..).map(|(number, _)| *number);
        for number in changed.take_while(|number| *number <= issues.derived) {
            if pattern.contains(&((number + 9) % 10 + 1)) {
                let before = matching_until(pattern, number - 1) - skipped;
                gaps.push((number, before - gaps.len() as u64));
            }
        }
        let len = matching_until(pattern, issues.derived).saturating_sub(skipped) - gaps.len() as u64;
        Unchanged { pattern, skipped, len, gaps }
    }

    /// How many have a number less than `number`.
    fn count_before(&self, number: u64) -> u64 {
        let matching = matching_until(self.pattern, number.saturating_sub(1)).saturating_sub(self.skipped);
        let gaps = self.gaps.partition_point(|(gap, _)| *gap < number) as u64;
        (matching - gaps).min(self.len)
    }

    /// The number of the one at `index`.
    fn nth(&self, index: u64) -> u64 {
        let gaps = self.gaps.partition_point(|(_, before)| *before <= index) as u64;
        let (index, length) = (self.skipped + index + gaps, self.pattern.len() as u64);
        let within = self.pattern.iter().zip(0..).find(|(_, at)| *at == index % length);
        index / length * 10 + within.map_or(1, |(number, _)| *number)
    }
}

/// How many of the numbers `1..=last` match the pattern.
fn matching_until(pattern: &[u64], last: u64) -> u64 {
    last / 10 * pattern.len() as u64 + pattern.iter().filter(|number| **number <= last % 10).count() as u64
}
