//! The pages of changing issues, against a plain model that holds and sorts them all.

use proptest::prelude::*;

use super::super::issues::{Entry, Issue, IssueState, Issues, Selection};
use super::NOW_MS;

/// What happens to a repository, the numbers being taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Retitle(u64),
    Toggle(u64),
    Add,
    Count(u64),
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..80u64).prop_map(Step::Retitle),
        3 => (0..80u64).prop_map(Step::Toggle),
        2 => Just(Step::Add),
        1 => (0..60u64).prop_map(Step::Count),
        3 => (0..3000u64).prop_map(Step::Later),
    ]
}

fn selection() -> impl Strategy<Value = (Selection, u64)> {
    let state = prop_oneof![Just(None), Just(Some(IssueState::Open)), Just(Some(IssueState::Closed))];
    // From before everything to after it: 50 issues reach back 15,000 seconds.
    let since = prop_oneof![Just(0), NOW_MS - 16_000_000..NOW_MS + 10_000];
    (state, any::<bool>(), any::<bool>(), since, 1..30u64).prop_map(
        |(state, by_update, descending, since_ms, per_page)| {
            (Selection { state, by_update, descending, since_ms }, per_page)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_pages_are_what_sorting_all_issues_gives(
        count in 0..50u64, steps in prop::collection::vec(step(), 0..20), (selection, per_page) in selection(),
    ) {
        let mut issues = Issues::new(7, count, NOW_MS);
        let mut model: Vec<Row> = (1..=count).map(|number| Row::of(&issues.derive(number))).collect();
        let mut now_ms = NOW_MS;
        for (index, step) in steps.into_iter().enumerate() {
            // A change is dated in whole seconds.
            let date_ms = now_ms / 1000 * 1000;
            match step {
                Step::Retitle(number) => {
                    let title = format!("step {index}");
                    let row = model.iter_mut().find(|row| row.number == number);
                    let found = issues.update(number, now_ms, |issue| issue.title.clone_from(&title));
                    prop_assert_eq!(found, row.is_some());
                    if let Some(row) = row {
                        (row.title, row.updated_ms) = (title, date_ms);
                    }
                }
                Step::Toggle(number) => {
                    issues.update(number, now_ms, |issue| issue.state = toggled(issue.state));
                    if let Some(row) = model.iter_mut().find(|row| row.number == number) {
                        (row.state, row.updated_ms) = (toggled(row.state), date_ms);
                    }
                }
                Step::Add => {
                    let title = format!("step {index}");
                    let number = issues.add(title.clone(), None, vec![], now_ms).number();
                    model.push(Row { number, title, state: IssueState::Open, updated_ms: date_ms });
                    prop_assert_eq!(number, model.len() as u64);
                }
                Step::Count(count) => {
                    issues.set_count(count, now_ms);
                    model.retain(|row| row.number <= count);
                    for number in model.len() as u64 + 1..=count {
                        model.push(Row { updated_ms: date_ms, ..Row::of(&issues.derive(number)) });
                    }
                }
                Step::Later(ms) => now_ms += ms,
            }
            prop_assert_eq!(issues.count(), model.len() as u64);
        }

        model.retain(|row| selection.state.is_none_or(|state| row.state == state));
        model.retain(|row| row.updated_ms >= selection.since_ms);
        if selection.by_update {
            model.sort_by_key(|row| (row.updated_ms, row.number));
        }
        if selection.descending {
            model.reverse();
        }
        let mut paged = Vec::new();
        for page in 0.. {
            let (entries, total) = issues.page(&selection, page, per_page);
            prop_assert_eq!(total, model.len() as u64);
            if entries.is_empty() {
                break;
            }
            paged.extend(entries.into_iter().map(|entry| Row::of(&whole(&issues, entry))));
        }
        prop_assert_eq!(paged, model);
    }
}

/// An issue in the plain model.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    number: u64,
    title: String,
    state: IssueState,
    updated_ms: u64,
}

impl Row {
    fn of(issue: &Issue) -> Row {
        let Issue { title, state, .. } = issue.clone();
        Row { number: issue.number(), title, state, updated_ms: issue.updated_ms() }
    }
}

fn toggled(state: IssueState) -> IssueState {
    match state {
        IssueState::Open => IssueState::Closed,
        IssueState::Closed => IssueState::Open,
    }
}

fn whole(issues: &Issues, entry: Entry<'_>) -> Issue {
    match entry {
        Entry::Derived(number) => issues.derive(number),
        Entry::Changed(issue) => issue.clone(),
    }
}

#[test]
fn a_change_dates_the_issue_and_a_change_of_nothing_does_not() {
    let mut issues = Issues::new(1, 10, NOW_MS);
    let before = issues.derive(2);
    assert!(issues.update(2, NOW_MS + 5000, |_| ()));
    assert!(issues.update(2, NOW_MS + 5000, |issue| issue.title = before.title.clone()));
    assert_eq!(issues.updated_ms(2), before.updated_ms());
    let everything = Selection { state: None, by_update: true, descending: true, since_ms: 0 };
    assert!(issues.page(&everything, 0, 10).0.iter().all(|entry| matches!(entry, Entry::Derived(_))));

    assert!(issues.update(2, NOW_MS + 5000, |issue| issue.state = IssueState::Closed));
    let newest = whole(&issues, issues.page(&everything, 0, 1).0[0]);
    assert_eq!((newest.number(), newest.updated_ms()), (2, NOW_MS + 5000 - 789));
    assert_eq!(newest.closed_ms(), Some(newest.updated_ms()));
    assert_eq!(newest.created_ms(), before.created_ms());
}
