//! What is noted of runs: their rows, logs and traces, listed by time or by whose they are, and how all of it is forgotten.

use std::collections::BTreeSet;

use super::layers::{Rows, View};
use super::syncs::{json, parse};
use super::{Engine, keys, lock};
use crate::ids::{ConnectionName, RunId, SyncKey, Timestamp};
use crate::run::{LogLine, Run};
use crate::store::{RunPage, RunsQuery, StoreError};

/// Runs that one page looks at where only some of all runs are wanted: some milliseconds of reading.
const MAX_LOOKED_AT: usize = 2_000;
/// Runs forgotten in one commit.
const FORGOTTEN_AT_ONCE: usize = 500;

impl Engine {
    pub(super) fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let row = self.index.get(View::Applied, &keys::run(id))?;
        row.map(|bytes| parse(&bytes, "a run")).transpose()
    }

    /// Stores a run that has no lease, and notes whose it is. One that begins need not be durable: what a killed process
    /// had committed is there.
    pub(super) fn put_run(&self, run: &Run) -> Result<(), StoreError> {
        let active = run.outcome.is_none().then(Vec::new);
        let is_active = active.is_some();
        let rows = Rows::from([
            (keys::run(run.id), Some(json(run)?)),
            (keys::run_of(&run.sync, run.id), Some(Vec::new())),
            (keys::active(run.id), active),
        ]);
        if is_active { self.commit_rows(rows).map(drop) } else { self.put_rows_durably(rows) }
    }

    pub(super) fn runs(&self, query: &RunsQuery) -> Result<RunPage, StoreError> {
        let limit = query.limit.max(1);
        let looked_at = match (&query.connection, &query.script) {
            (Some(connection), Some(script)) => {
                let variant = query.variant.clone().unwrap_or_default();
                let sync = SyncKey { script: script.clone(), connection: connection.clone(), variant };
                return self.runs_of(&sync, query.before, limit);
            }
            (Some(connection), None) => self.runs_of_connection(connection, query.before, limit)?,
            (None, _) => {
                let (from, end) = keys::ALL_RUNS;
                let to = query.before.map_or_else(|| end.to_vec(), keys::run);
                let most = if query.script.is_some() || query.variant.is_some() { MAX_LOOKED_AT } else { limit };
                let rows = self.index.range_back(View::Applied, from, &to, most)?;
                let runs: Result<Vec<Run>, _> = rows.iter().map(|(_, value)| parse(value, "a run")).collect();
                (runs?, rows.len() == most)
            }
        };
        let (runs, cut) = looked_at;
        let mut next = if cut { runs.last().map(|run| run.id) } else { None };
        let wanted = |run: &Run| {
            query.script.as_ref().is_none_or(|script| run.sync.script == *script)
                && query.variant.as_ref().is_none_or(|variant| run.sync.variant == *variant)
        };
        let mut runs: Vec<_> = runs.into_iter().filter(wanted).collect();
        if runs.len() > limit {
            runs.truncate(limit);
            next = runs.last().map(|run| run.id);
        }
        Ok(RunPage { runs, next })
    }

    fn runs_of(&self, sync: &SyncKey, before: Option<RunId>, limit: usize) -> Result<RunPage, StoreError> {
        let (from, end) = keys::runs_of(sync);
        let to = before.map_or(end, |before| keys::run_of(sync, before));
        let rows = self.index.range_back(View::Applied, &from, &to, limit)?;
        let ids: Vec<_> = rows.iter().filter_map(|(key, _)| keys::parse_run_of(key)).collect();
        let next = ids.last().copied().filter(|_| rows.len() == limit);
        Ok(RunPage { runs: self.known(ids)?, next })
    }

    /// Of a connection they are not in the order of time, so that all of their ids are looked at.
    fn runs_of_connection(
        &self,
        connection: &ConnectionName,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<(Vec<Run>, bool), StoreError> {
        let (from, to) = keys::runs_of_connection(connection);
        let rows = self.index.range(View::Applied, &from, &to, usize::MAX)?;
        let ids: BTreeSet<_> = rows.iter().filter_map(|(key, _)| keys::parse_run_of(key)).collect();
        let earlier = ids.into_iter().rev().filter(|id| before.is_none_or(|before| *id < before));
        let ids: Vec<_> = earlier.take(limit).collect();
        let cut = ids.len() == limit;
        Ok((self.known(ids)?, cut))
    }

    fn known(&self, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
        let runs = ids.into_iter().map(|id| self.run(id)).filter_map(Result::transpose);
        runs.collect()
    }

    pub(super) fn append_log(&self, run: RunId, lines: &[LogLine]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let _guard = lock(&self.small_rows);
        let (from, to) = (keys::log(run, 0), keys::log(run, u32::MAX));
        let last = self.index.range_back(View::Applied, &from, &to, 1)?;
        let last = last.first().and_then(|(key, _)| key.last_chunk::<4>().copied());
        let chunk = last.map_or(0, |last| u32::from_be_bytes(last) + 1);
        self.commit_rows(Rows::from([(keys::log(run, chunk), Some(json(&lines)?))])).map(drop)
    }

    pub(super) fn log(&self, run: RunId) -> Result<Vec<LogLine>, StoreError> {
        let mut lines = Vec::new();
        for (_, value) in self.index.range(View::Applied, &keys::log(run, 0), &keys::log(run, u32::MAX), usize::MAX)? {
            lines.extend(parse::<Vec<LogLine>>(&value, "a run's log")?);
        }
        Ok(lines)
    }

    pub(super) fn put_trace(&self, run: RunId, trace: &str) -> Result<(), StoreError> {
        self.commit_rows(Rows::from([(keys::trace(run), Some(trace.as_bytes().to_vec()))])).map(drop)
    }

    pub(super) fn trace(&self, run: RunId) -> Result<Option<String>, StoreError> {
        let row = self.index.get(View::Applied, &keys::trace(run))?;
        Ok(row.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Forgets runs that started before `cutoff` and ended. Returns how many those were.
    pub(super) fn forget_runs_before(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        let mut from = keys::ALL_RUNS.0.to_vec();
        let to = keys::run(RunId::first_at(cutoff));
        let mut forgotten = 0;
        loop {
            let found = self.index.range(View::Applied, &from, &to, FORGOTTEN_AT_ONCE)?;
            let Some((last, _)) = found.last() else { return Ok(forgotten) };
            from = [last.as_slice(), &[0]].concat();
            let mut rows = Rows::new();
            for (_, value) in &found {
                let run: Run = parse(value, "a run")?;
                if run.outcome.is_some() {
                    self.forget_run(&run, &mut rows)?;
                    forgotten += 1;
                }
            }
            if !rows.is_empty() {
                self.commit_rows(rows)?;
            }
        }
    }

    /// The rows that forget a run.
    pub(super) fn forget_run(&self, run: &Run, rows: &mut Rows) -> Result<(), StoreError> {
        for (key, _) in
            self.index.range(View::Applied, &keys::log(run.id, 0), &keys::log(run.id, u32::MAX), usize::MAX)?
        {
            rows.insert(key, None);
        }
        for key in [keys::run(run.id), keys::run_of(&run.sync, run.id), keys::trace(run.id)] {
            rows.insert(key, None);
        }
        Ok(())
    }
}
