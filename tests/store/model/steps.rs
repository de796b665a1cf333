//! What is done to the store and to its model.

use proptest::prelude::*;

use super::{IDS, READERS};

/// A record's fields; those that are `None` are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) v: Option<u8>,
    pub(super) w: Option<u8>,
    pub(super) t: Option<u8>,
}

impl Fields {
    /// The same record, spelled in one of two ways.
    pub(super) fn json(self, backwards: bool) -> String {
        let mut members: Vec<_> = [("v", self.v), ("w", self.w), ("t", self.t)]
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!(r#""{name}":{value}"#)))
            .collect();
        if backwards {
            members.reverse();
        }
        if backwards { format!("{{ {} }}\n", members.join(" , ")) } else { format!("{{{}}}", members.join(",")) }
    }

    pub(super) fn merged(self, new: Self) -> Self {
        Self { v: new.v.or(self.v), w: new.w.or(self.w), t: new.t.or(self.t) }
    }

    pub(super) fn compared(self, model: usize) -> Self {
        if model == 1 { Self { t: None, ..self } } else { self }
    }
}

pub(super) type Batch = Vec<(usize, Fields, bool)>;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Begin { sync: usize, refresh: [bool; 2], late: bool },
    Save { sync: usize, model: usize, batch: Batch },
    Update { sync: usize, model: usize, batch: Batch },
    BadBatch { sync: usize, model: usize, batch: Batch, at: usize, merge: bool },
    Delete { sync: usize, model: usize, ids: Vec<usize> },
    StaleSave { model: usize },
    TrackStart { sync: usize, model: usize },
    TrackEnd { sync: usize, model: usize, guarded: bool },
    Checkpoint { sync: usize, value: Option<u8> },
    Finish { sync: usize, success: bool, guarded: bool },
    Reset { sync: usize, late: bool },
    Reopen { rebuild: bool },
    Sync,
    Read { reader: usize, limit: usize, whole: bool },
    Rewind { reader: usize, to: usize },
}

pub(super) fn fields() -> impl Strategy<Value = Fields> {
    let field = || prop_oneof![1 => Just(None), 3 => (0..3_u8).prop_map(Some)];
    (field(), field(), field()).prop_map(|(v, w, t)| Fields { v, w, t })
}

pub(super) fn batch() -> impl Strategy<Value = Batch> {
    proptest::collection::vec((0..IDS.len(), fields(), any::<bool>()), 0..6)
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (sync, model) = (0..2_usize, 0..2_usize);
    prop_oneof![
        12 => (sync.clone(), any::<[bool; 2]>(), prop::bool::weighted(0.1))
            .prop_map(|(sync, refresh, late)| Step::Begin { sync, refresh, late }),
        14 => (sync.clone(), model.clone(), batch()).prop_map(|(sync, model, batch)| Step::Save { sync, model, batch }),
        6 => (sync.clone(), model.clone(), batch()).prop_map(|(sync, model, batch)| Step::Update { sync, model, batch }),
        2 => (sync.clone(), model.clone(), batch(), 0..6_usize, any::<bool>())
            .prop_map(|(sync, model, batch, at, merge)| Step::BadBatch { sync, model, batch, at, merge }),
        5 => (sync.clone(), model.clone(), proptest::collection::vec(0..IDS.len(), 0..4))
            .prop_map(|(sync, model, ids)| Step::Delete { sync, model, ids }),
        1 => model.clone().prop_map(|model| Step::StaleSave { model }),
        5 => (sync.clone(), model.clone()).prop_map(|(sync, model)| Step::TrackStart { sync, model }),
        5 => (sync.clone(), model, any::<bool>())
            .prop_map(|(sync, model, guarded)| Step::TrackEnd { sync, model, guarded }),
        3 => (sync.clone(), proptest::option::weighted(0.8, 0..9_u8))
            .prop_map(|(sync, value)| Step::Checkpoint { sync, value }),
        7 => (sync.clone(), prop::bool::weighted(0.7), any::<bool>())
            .prop_map(|(sync, success, guarded)| Step::Finish { sync, success, guarded }),
        1 => (sync, prop::bool::weighted(0.3)).prop_map(|(sync, late)| Step::Reset { sync, late }),
        2 => any::<bool>().prop_map(|rebuild| Step::Reopen { rebuild }),
        1 => Just(Step::Sync),
        8 => (0..READERS, 0..5_usize, any::<bool>())
            .prop_map(|(reader, limit, whole)| Step::Read { reader, limit, whole }),
        1 => (0..READERS, any::<usize>()).prop_map(|(reader, to)| Step::Rewind { reader, to }),
    ]
}
