//! The door through which a guest's host calls go. What each carries is charged here. Without a tape it costs one comparison
//! more.

use serde_json::Value;
use wasmtime::component::HasData;

use super::wire::{Wire, object};
use super::{Ended, Tape};
use crate::sandbox::bindings::{http, log, records, state};
use crate::sandbox::host::HostState;

type Answer = Result<http::Response, http::Error>;
type Done = (http::Ticket, Answer);

/// A guest's state, seen from the linker.
pub(in crate::sandbox) struct Door<'a>(&'a mut HostState);

/// Gives the linker a [`Door`].
pub(in crate::sandbox) struct Doors;

impl HasData for Doors {
    type Data<'a> = Door<'a>;
}

/// `call!(self, "http.fetch", { request }, http::Host::fetch)`: live, live and written down, or answered from a cassette.
macro_rules! call {
    ($self:ident, $name:literal, { $($argument:ident),* }, $live:path) => {{
        // What is recorded costs the same when it is replayed.
        $self.0.fees.carry(0 $(+ Wire::carried(&$argument))*);
        let Some(tape) = &$self.0.tape else {
            let answer = $live(&mut *$self.0 $(, $argument)*).await?;
            $self.0.fees.carry(answer.carried());
            return Ok(answer);
        };
        let arguments = object([$((stringify!($argument), $argument.to_json())),*]);
        match tape {
            Tape::Recording(recorder) => {
                let call = recorder.begin($name, arguments);
                let answer = $live(&mut *$self.0 $(, $argument)*).await?;
                call.answered(&answer.to_json());
                $self.0.fees.carry(answer.carried());
                Ok(answer)
            }
            Tape::Replaying(_) => $self.replay($name, &arguments),
        }
    }};
}

pub(in crate::sandbox) fn door(state: &mut HostState) -> Door<'_> {
    Door(state)
}

impl Door<'_> {
    fn replay<T: Wire>(&mut self, name: &'static str, arguments: &Value) -> wasmtime::Result<T> {
        let state = &mut *self.0;
        state.meter.check_memory()?;
        state.fees.charge(1);
        let Some(Tape::Replaying(replay)) = &state.tape else { return Err(Ended.into()) };
        let mut replay = replay.lock();
        // The answers that were handed over with the last call are the guest's own by now.
        state.meter.give_memory(std::mem::take(&mut replay.handed_over));
        let answer: T = replay.answer(name, arguments).ok_or(Ended)?;
        let weight = answer.weight();
        state.meter.take_memory(weight)?;
        replay.handed_over = weight;
        drop(replay);
        state.fees.carry(answer.carried());
        Ok(answer)
    }
}

impl http::Host for Door<'_> {
    async fn fetch(&mut self, request: http::Request) -> wasmtime::Result<Answer> {
        call!(self, "http.fetch", { request }, http::Host::fetch)
    }

    async fn fetch_all(&mut self, requests: Vec<http::Request>) -> wasmtime::Result<Vec<Answer>> {
        call!(self, "http.fetch-all", { requests }, http::Host::fetch_all)
    }

    async fn start(&mut self, request: http::Request) -> wasmtime::Result<Result<http::Ticket, http::Error>> {
        call!(self, "http.start", { request }, http::Host::start)
    }

    async fn wait(&mut self) -> wasmtime::Result<Option<Done>> {
        call!(self, "http.wait", {}, http::Host::wait)
    }

    async fn wait_for(&mut self, timeout_ms: u32) -> wasmtime::Result<http::Waited> {
        call!(self, "http.wait-for", { timeout_ms }, http::Host::wait_for)
    }

    async fn start_pages(
        &mut self,
        first: http::Request,
        next: http::NextPage,
        ahead: u32,
    ) -> wasmtime::Result<Result<http::PageList, http::Error>> {
        call!(self, "http.start-pages", { first, next, ahead }, http::Host::start_pages)
    }

    async fn take_page(&mut self, pages: http::PageList) -> wasmtime::Result<Option<Answer>> {
        call!(self, "http.take-page", { pages }, http::Host::take_page)
    }

    async fn stop_pages(&mut self, pages: http::PageList) -> wasmtime::Result<()> {
        call!(self, "http.stop-pages", { pages }, http::Host::stop_pages)
    }
}

type Saved = Result<records::SaveSummary, records::Error>;

impl records::Host for Door<'_> {
    async fn batch_save(&mut self, model: String, entries: Vec<records::Entry>) -> wasmtime::Result<Saved> {
        call!(self, "records.batch-save", { model, entries }, records::Host::batch_save)
    }

    async fn batch_update(&mut self, model: String, entries: Vec<records::Entry>) -> wasmtime::Result<Saved> {
        call!(self, "records.batch-update", { model, entries }, records::Host::batch_update)
    }

    async fn batch_delete(&mut self, model: String, ids: Vec<String>) -> wasmtime::Result<Result<u32, records::Error>> {
        call!(self, "records.batch-delete", { model, ids }, records::Host::batch_delete)
    }

    async fn get_by_ids(
        &mut self,
        model: String,
        ids: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<records::Entry>, records::Error>> {
        call!(self, "records.get-by-ids", { model, ids }, records::Host::get_by_ids)
    }

    async fn list(
        &mut self,
        model: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<records::Listing, records::Error>> {
        call!(self, "records.list", { model, after, limit }, records::Host::list)
    }

    async fn track_deletes_start(&mut self, model: String) -> wasmtime::Result<Result<(), records::Error>> {
        call!(self, "records.track-deletes-start", { model }, records::Host::track_deletes_start)
    }

    async fn track_deletes_end(&mut self, model: String) -> wasmtime::Result<Result<u64, records::Error>> {
        call!(self, "records.track-deletes-end", { model }, records::Host::track_deletes_end)
    }

    async fn unseen(
        &mut self,
        model: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<records::UnseenIds, records::Error>> {
        call!(self, "records.unseen", { model, after, limit }, records::Host::unseen)
    }
}

impl state::Host for Door<'_> {
    async fn last_sync_date(&mut self) -> wasmtime::Result<Option<u64>> {
        call!(self, "state.last-sync-date", {}, state::Host::last_sync_date)
    }

    async fn checkpoint(&mut self) -> wasmtime::Result<Option<String>> {
        call!(self, "state.checkpoint", {}, state::Host::checkpoint)
    }

    async fn save_checkpoint(&mut self, value: String) -> wasmtime::Result<Result<(), state::Error>> {
        call!(self, "state.save-checkpoint", { value }, state::Host::save_checkpoint)
    }

    async fn clear_checkpoint(&mut self) -> wasmtime::Result<Result<(), state::Error>> {
        call!(self, "state.clear-checkpoint", {}, state::Host::clear_checkpoint)
    }

    async fn metadata(&mut self) -> wasmtime::Result<String> {
        call!(self, "state.metadata", {}, state::Host::metadata)
    }

    async fn set_metadata(&mut self, value: String) -> wasmtime::Result<Result<(), state::Error>> {
        call!(self, "state.set-metadata", { value }, state::Host::set_metadata)
    }

    async fn update_metadata(&mut self, fields: String) -> wasmtime::Result<Result<(), state::Error>> {
        call!(self, "state.update-metadata", { fields }, state::Host::update_metadata)
    }

    async fn connection(&mut self) -> wasmtime::Result<String> {
        call!(self, "state.connection", {}, state::Host::connection)
    }
}

impl log::Host for Door<'_> {
    async fn log(&mut self, level: log::Level, message: String, fields: Option<String>) -> wasmtime::Result<()> {
        self.0.fees.carry(message.carried() + fields.carried());
        match &self.0.tape {
            // A line has no answer, and a script that logs something else does the same.
            None | Some(Tape::Replaying(_)) => log::Host::log(&mut *self.0, level, message, fields).await,
            Some(Tape::Recording(recorder)) => {
                let arguments =
                    [("level", level.to_json()), ("message", message.to_json()), ("fields", fields.to_json())];
                let call = recorder.begin("log.log", object(arguments));
                log::Host::log(&mut *self.0, level, message, fields).await?;
                call.answered(&Value::Null);
                Ok(())
            }
        }
    }
}
