//! `terapi:sync/state` and `terapi:sync/log`.

use super::{HostBroke, HostState, Parked};
use crate::run::Level;
use crate::sandbox::bindings::log::{Host as LogHost, Level as WitLevel};
use crate::sandbox::bindings::state::{Error, Host};
use crate::sandbox::bindings::types::{Json, Timestamp};
use crate::sandbox::limits::{Budget, RunMeter};
use crate::store::{StoreError, canonical};

impl Host for HostState {
    async fn last_sync_date(&mut self) -> wasmtime::Result<Option<Timestamp>> {
        let (run, _, _) = self.enter()?;
        Ok(run.last_sync_date.map(|date| date.0))
    }

    async fn checkpoint(&mut self) -> wasmtime::Result<Option<Json>> {
        let (run, _, _) = self.enter()?;
        Ok(run.checkpoint.clone())
    }

    async fn save_checkpoint(&mut self, value: Json) -> wasmtime::Result<Result<(), Error>> {
        self.keep_checkpoint(Some(value)).await
    }

    async fn clear_checkpoint(&mut self) -> wasmtime::Result<Result<(), Error>> {
        self.keep_checkpoint(None).await
    }

    async fn metadata(&mut self) -> wasmtime::Result<Json> {
        let (run, _, _) = self.enter()?;
        let connection = run.connection.clone();
        let metadata = run.ask_store(move |store| store.metadata(&connection)).await?;
        metadata.map_err(|error| HostBroke(error.to_string()).into())
    }

    async fn set_metadata(&mut self, value: Json) -> wasmtime::Result<Result<(), Error>> {
        let (run, meter, _) = self.enter()?;
        if let Err(error) = charge(meter, &value) {
            return Ok(Err(error));
        }
        let connection = run.connection.clone();
        let kept = run.ask_store(move |store| store.set_metadata(&connection, &value)).await?;
        Ok(kept.map_err(Error::from))
    }

    async fn update_metadata(&mut self, fields: Json) -> wasmtime::Result<Result<(), Error>> {
        let (run, meter, _) = self.enter()?;
        if let Err(error) = charge(meter, &fields) {
            return Ok(Err(error));
        }
        let connection = run.connection.clone();
        let kept = run.ask_store(move |store| store.update_metadata(&connection, &fields)).await?;
        Ok(kept.map_err(Error::from))
    }

    async fn connection(&mut self) -> wasmtime::Result<Json> {
        let (run, _, _) = self.enter()?;
        Ok(run.connection_facts.to_string())
    }
}

impl HostState {
    async fn keep_checkpoint(&mut self, value: Option<String>) -> wasmtime::Result<Result<(), Error>> {
        let (run, meter, log) = self.enter()?;
        if let Err(error) = charge(meter, value.as_deref().unwrap_or_default()) {
            return Ok(Err(error));
        }
        let Some(lease) = run.lease.clone() else {
            return Ok(Err(Error::NotAllowed("an action has no checkpoint: keep state in the metadata".to_owned())));
        };
        let text = value.clone();
        let kept = run.ask_store(move |store| store.save_checkpoint(&lease, text.as_deref())).await?;
        run.pass_on_log(log).await?;
        Ok(match kept {
            // Only now: it is durable, so nothing that the run did is lost. To forget a checkpoint saves nothing.
            Ok(()) if value.is_some() && run.park.is_cancelled() => return Err(Parked.into()),
            Ok(()) => {
                run.checkpoint = value;
                Ok(())
            }
            Err(error) => Err(error.into()),
        })
    }
}

impl LogHost for HostState {
    async fn log(&mut self, level: WitLevel, message: String, fields: Option<Json>) -> wasmtime::Result<()> {
        let level = match level {
            WitLevel::Debug => Level::Debug,
            WitLevel::Info => Level::Info,
            WitLevel::Warn => Level::Warn,
            WitLevel::Error => Level::Error,
        };
        // What is no JSON object is kept as text: a log line is never refused.
        let (message, fields) = match fields {
            Some(text) if text.len() > MAX_FIELDS_BYTES || canonical::validate_object(&text).is_err() => {
                (format!("{message} {text}"), None)
            }
            fields => (message, fields),
        };
        // Stacks that are logged point into the author's source.
        let (message, fields) = match &self.text {
            Some(built) if message.len() <= MAX_FIELDS_BYTES => {
                (built.places(&message), fields.map(|fields| built.places(&fields)))
            }
            _ => (message, fields),
        };
        self.fees.charge(1);
        self.log.push(level, message, fields);
        if let Some(run) = &self.run {
            run.pass_on_log(&self.log).await?;
        }
        Ok(())
    }
}

/// Longer fields of a log line are treated as text, which is cut, and in longer messages no places are looked for.
const MAX_FIELDS_BYTES: usize = 8 << 10;

fn charge(meter: &RunMeter, text: &str) -> Result<(), Error> {
    meter.spend(Budget::StateBytes, text.len() as u64).map_err(|budget| Error::Exhausted(budget.into()))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InvalidState { .. } => Self::Invalid(error.to_string()),
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Storage(other.to_string()),
        }
    }
}
