//! Forgetting a connection, with everything that it has.

use std::sync::Arc;

use super::block::damaged;
use super::layers::{Rows, View};
use super::streams::StreamRow;
use super::{Engine, keys, lock};
use crate::ids::{ConnectionName, Timestamp};
use crate::store::StoreError;

impl Engine {
    pub(super) fn delete_connection(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        // Held to the end: no run of the connection begins meanwhile.
        let mut active = lock(&self.active);
        for (_, run) in active.iter().filter(|(sync, _)| sync.connection == *connection) {
            // Whether its lease has expired does not matter: it may still write.
            lock(run).refuse_if_held(Timestamp::default())?;
        }
        active.retain(|sync, _| sync.connection != *connection);
        let mut rows = Rows::from([(keys::metadata(connection), None)]);
        for (from, to) in [keys::syncs_of(connection), keys::accounts_of(connection)] {
            for (key, _) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
                rows.insert(key, None);
            }
        }
        let (from, to) = keys::runs_of_connection(connection);
        for (key, _) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
            if let Some(run) = keys::parse_run_of(&key).map(|id| self.run(id)).transpose()?.flatten() {
                self.forget_run(&run, &mut rows)?;
            }
            rows.insert(key, None);
        }
        let (from, to) = keys::streams_of(connection);
        let mut streams = lock(&self.streams);
        let mut gone = Vec::new();
        for (key, value) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
            let row = StreamRow::decode(&value)?;
            gone.push((keys::parse_stream(&key).ok_or_else(damaged)?, row));
            rows.insert(key, None);
        }
        let numbers = |row: &StreamRow| [row.number, row.building.as_ref().map_or(0, |(number, _)| *number)];
        let numbers: Vec<_> = gone.iter().flat_map(|(_, row)| numbers(row)).filter(|number| *number != 0).collect();
        let cells: Vec<_> = numbers.iter().filter_map(|number| streams.cells.remove(number)).collect();
        for (key, _) in &gone {
            streams.rows.remove(key);
        }
        let ticket = {
            let mut heads: Vec<_> = cells.iter().map(|cell: &Arc<_>| lock(&cell.head)).collect();
            let ticket = self.commit(|group| {
                for number in &numbers {
                    group.drop_generation(*number);
                }
                group.put_rows(rows);
            })?;
            for head in &mut heads {
                **head = None;
            }
            ticket
        };
        // Not before: a reader would put back in memory what the commit takes away.
        drop(streams);
        drop(active);
        self.wait_durable(ticket)
    }
}
