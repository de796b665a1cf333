//! The list of cases, and the account of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, Once};

use crate::support::at_exit;

/// A case of an area.
pub(super) struct Case(pub(super) &'static str, pub(super) Tested);

/// Where a case is tested.
pub(super) enum Tested {
    /// By the test in this area that says so with `case` or `library_case`.
    Here,
    /// By these tests elsewhere: a file from the root of the repository, and a function in it.
    Elsewhere(&'static [(&'static str, &'static str)]),
    /// Not, for this reason.
    LeftOut(&'static str),
}

/// Every area with its cases.
const AREAS: &[(&str, &[Case])] = &[
    ("upload", super::upload::CASES),
    ("guest", super::guest::CASES),
    ("egress", super::egress::CASES),
    ("api", super::api::CASES),
    ("store", super::store::CASES),
    ("sched", super::sched::CASES),
];

/// Cases of this suite that have ended, and whether they passed.
static ENDED: Mutex<BTreeMap<&'static str, bool>> = Mutex::new(BTreeMap::new());

/// Of which area a case is.
pub(super) fn area_of(id: &str) -> &'static str {
    let found = AREAS
        .iter()
        .find(|(_, cases)| cases.iter().any(|Case(known, tested)| *known == id && matches!(tested, Tested::Here)));
    found.unwrap_or_else(|| panic!("case {id} is in no area's list as tested here")).0
}

/// Notes the end of a case. When all tests are over, it is said how the areas did.
pub(super) fn ended(id: &'static str, passed: bool) {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| at_exit(sum_up));
    // A case of several tests passes if all of them do.
    ENDED.lock().unwrap().entry(id).and_modify(|before| *before &= passed).or_insert(passed);
}

fn sum_up() {
    let ended = ENDED.lock().unwrap();
    for (area, cases) in AREAS {
        let here = || cases.iter().filter(|Case(_, tested)| matches!(tested, Tested::Here)).map(|Case(id, _)| *id);
        let ran = here().filter(|id| ended.contains_key(id)).count();
        let passed = here().filter(|id| ended.get(id) == Some(&true)).count();
        if ran == 0 && here().next().is_some() {
            continue;
        }
        let elsewhere = cases.iter().filter(|Case(_, tested)| matches!(tested, Tested::Elsewhere(_))).count();
        let left_out = cases.iter().filter_map(|Case(id, tested)| match tested {
            Tested::LeftOut(reason) => Some(format!("\n    left out: {id}: {reason}")),
            _ => None,
        });
        let left_out: Vec<_> = left_out.collect();
        // Past the capture of the test harness, which shows nothing of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "adversarial {area}: {} cases: {} here, of which {ran} ran and {passed} passed; {elsewhere} tested elsewhere; {} left out{}",
            cases.len(),
            here().count(),
            left_out.len(),
            left_out.concat()
        );
    }
}

#[test]
fn what_is_said_to_be_tested_elsewhere_is_there_and_no_case_is_listed_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = std::collections::BTreeSet::new();
    for Case(id, tested) in AREAS.iter().flat_map(|(_, cases)| *cases) {
        assert!(seen.insert(id), "{id} is listed twice");
        let Tested::Elsewhere(places) = tested else { continue };
        assert!(!places.is_empty(), "{id} is tested nowhere");
        for (file, test) in *places {
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{id}: {file}: {error}"));
            assert!(text.contains(&format!("fn {test}(")), "{id}: {file} has no test {test}");
        }
    }
}
