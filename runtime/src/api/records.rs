//! `/v1/connections/{connection}/records/{model}`: the change feed.
//!
//! Pages are written by hand, text into text: a record's JSON is never parsed on its way out.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Json as Answer, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, LOCAL_KEY, ReadRecords, no_good_key};
use super::bodies::Room;
use super::input::{PageQuery, Path, Query};
use super::problem::{ProblemBody, Problems};
use super::views::{StreamPage, StreamView};
use super::{Api, Problem};
use crate::ids::{ConnectionName, ModelName, StreamKey, Time, Timestamp, Variant};
use crate::runtime::Runtime;
use crate::store::{ActionFilter, Change, ChangePage, ChangesQuery, MAX_RECORD_BYTES};

/// The longest wait for changes.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Bytes of records on a page, if nothing else is asked for.
const PAGE_BYTES: usize = 4 << 20;
/// The most that can be asked for.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// The most that who follows has waiting: each of thousands may be slow.
const FOLLOW_BYTES: usize = 256 << 10;
/// Ids that can be asked for at once.
const MAX_IDS: usize = 100;
/// How often it is looked whether the key of who follows or waits was taken away: well within the five seconds after which one
/// opens nothing anywhere.
const CHECK_KEY: Duration = Duration::from_secs(3);
/// A connection that is silent for longer may be taken for dead on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// List streams: which models of which connections have records
#[utoipa::path(get, path = "/v1/streams", tag = "records", operation_id = "list_streams", params(PageQuery),
    responses((status = 200, body = StreamPage), Problems))]
pub(super) async fn streams(
    caller: Caller<ReadRecords>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<StreamPage>, Problem> {
    let (limit, after) = (page.limit()?, page.after());
    let found = caller.runtime.blocking(|store| store.streams()).await?;
    let key = |view: &StreamView| format!("{}/{}/{}", view.connection, view.model, view.variant);
    let mut items: Vec<_> = found.into_iter().map(StreamView::from).collect();
    items.sort_by_cached_key(key);
    items.retain(|item| after.as_ref().is_none_or(|after| key(item) > *after));
    items.truncate(limit);
    Ok(Answer(StreamPage::of(items, limit, key)))
}

/// A record, as it was changed last.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordView {
    /// The record's id.
    id: String,
    /// `added`, `updated` or `deleted`.
    last_action: String,
    /// When it was first seen, or seen again after a delete.
    first_seen_at: Time,
    /// When it was changed.
    last_modified_at: Time,
    /// When it was deleted, if it is.
    deleted_at: Option<Time>,
    /// Hand this back to read on behind this record.
    cursor: String,
    /// The record's JSON, byte for byte as it was saved; of a deleted one the last that was known. `null` if retention took
    /// it away.
    #[schema(value_type = Option<Object>)]
    data: (),
}

/// A page of changes.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordPage {
    /// In the order of their commits, each record once, at its last change.
    records: Vec<RecordView>,
    /// Hand this back as `cursor` for what comes next, also if there is nothing more now.
    cursor: String,
    /// Whether there is more right now.
    more: bool,
}

/// What to read.
#[derive(Debug, Clone, Default, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described: `ids` may repeat, so the query is read by hand")]
struct RecordsQuery {
    /// Only what changed since this cursor: the `cursor` of a page, or of a record. From the beginning if left out.
    #[param(max_length = 64)]
    cursor: Option<String>,
    /// Which variant.
    #[param(value_type = Option<Variant>)]
    variant: Option<Variant>,
    /// Only these: `added`, `updated`, `deleted`, separated by commas. All of them if left out.
    #[param(pattern = "^(added|updated|deleted)(,(added|updated|deleted))*$")]
    filter: Option<String>,
    /// Only what was changed after this moment.
    modified_after: Option<Time>,
    /// Only these records, at most 100; may repeat. Neither `cursor` nor `wait` go with it.
    ids: Option<Vec<String>>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// About how many bytes of records at most; a page has at least one if there is one.
    #[param(minimum = 1, maximum = 16_777_216, default = 4_194_304)]
    max_bytes: Option<usize>,
    /// If there is nothing new, wait so long for it: `30s`, at most `60s`.
    #[param(pattern = "^[0-9]{1,5}(ms|s)?$")]
    wait: Option<String>,
}

/// What was asked for.
#[derive(Default)]
struct Asked {
    query: ChangesQuery,
    variant: Variant,
    ids: Vec<String>,
    wait: Duration,
}

impl Asked {
    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::bad_request("bad-query", detail);
        let mut asked =
            Self { query: ChangesQuery { max_bytes: PAGE_BYTES, ..ChangesQuery::default() }, ..Self::default() };
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let number = |most: usize| match value.parse::<usize>() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(bad(format!("{name} is a number from 1 to {most}"))),
            };
            match &*name {
                "cursor" => asked.query.cursor = Some(value.into_owned()),
                "variant" => asked.variant = value.parse().map_err(|error| bad(format!("{error}")))?,
                "filter" => asked.query.filter = value.parse::<ActionFilter>().map_err(bad)?,
                "modified_after" => {
                    let time: Time = value.parse().map_err(|error| bad(format!("{error}")))?;
                    asked.query.modified_after = Some(time.0);
                }
                "ids" => asked.ids.push(value.into_owned()),
                "limit" => asked.query.limit = number(1_000)?,
                "max_bytes" => asked.query.max_bytes = number(MAX_PAGE_BYTES)?,
                "wait" => {
                    asked.wait =
                        parse_wait(&value).ok_or_else(|| bad("wait is a time such as 30s, at most 60s".to_owned()))?;
                }
                other => {
                    let known = "cursor, variant, filter, modified_after, ids, limit, max_bytes, wait";
                    let other: String = other.chars().take(60).collect();
                    return Err(bad(format!("there is no parameter {other:?}: there are {known}")));
                }
            }
        }
        if asked.ids.len() > MAX_IDS {
            return Err(bad(format!("{} ids are over {MAX_IDS}: ask several times", asked.ids.len())));
        }
        if !asked.ids.is_empty() && (asked.query.cursor.is_some() || !asked.wait.is_zero()) {
            return Err(bad("ids go with neither cursor nor wait".to_owned()));
        }
        Ok(asked)
    }
}

/// Reads or refuses a query of records.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_query(text: &str) {
    let _ = Asked::parse(text);
}

/// `30s`, `500ms` or `30`, which are seconds.
fn parse_wait(text: &str) -> Option<Duration> {
    let wait = match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(ms.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s').unwrap_or(text).parse().ok()?),
    };
    (wait <= MAX_WAIT).then_some(wait)
}

/// Read changes
///
/// Hand back the `cursor` of the last page and you get the final state of everything that changed since, in order. A
/// damaged or foreign cursor is answered with 400, one from a lost history, or from before what retention took, with 410:
/// read from the beginning then. With `Accept: text/event-stream` changes are sent as they come, each with its cursor as the
/// event's id; a client that comes back sends the last as `Last-Event-ID`.
#[utoipa::path(get, path = "/v1/connections/{connection}/records/{model}", tag = "records", operation_id = "read_records",
    params(("connection" = ConnectionName, Path), ("model" = ModelName, Path), RecordsQuery),
    responses((status = 200, description = "A page of changes, or a stream of events.",
            content((RecordPage = "application/json"), (String = "text/event-stream"))),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "Read from the beginning."), Problems))]
pub(super) async fn changes(
    caller: Caller<ReadRecords>,
    State(api): State<Api>,
    Path((connection, model)): Path<(ConnectionName, ModelName)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut asked = Asked::parse(&query.unwrap_or_default())?;
    let stream = StreamKey { connection, model, variant: asked.variant.clone() };
    let asker = Asker { runtime: caller.runtime, key: caller.principal.key_id };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        if let Some(last) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
            asked.query.cursor = Some(last.to_owned());
        }
        return follow(api, asker, stream, asked).await;
    }
    if !asked.ids.is_empty() {
        let room = api.answers.room(asked.ids.len() * MAX_RECORD_BYTES).await?;
        let (ids, of) = (asked.ids, stream.clone());
        let mut changes = asker.runtime.blocking(move |store| store.changes_of(&of, &ids)).await?;
        changes.retain(|change| {
            asked.query.filter.passes(change.action)
                && asked.query.modified_after.is_none_or(|date| change.last_modified_at > date)
        });
        return Ok(room.keep(page(&ChangePage { changes, cursor: String::new(), more: false }, &api)));
    }
    let (found, room) = wait_for_changes(&api, &asker, &stream, asked.query, asked.wait).await?;
    Ok(room.keep(page(&found, &api)))
}

/// Who reads, for as long as the key is good.
struct Asker {
    runtime: Runtime,
    key: String,
}

impl Asker {
    /// Whether it is so still.
    async fn check(&self) -> Result<(), Problem> {
        if self.key == LOCAL_KEY || self.runtime.is_still_good(&self.key).await? { Ok(()) } else { Err(no_good_key()) }
    }
}

/// The next page that has something on it, or what there is when the time is over.
async fn wait_for_changes(
    api: &Api,
    asker: &Asker,
    stream: &StreamKey,
    mut query: ChangesQuery,
    wait: Duration,
) -> Result<(ChangePage, Room), Problem> {
    let (deadline, runtime) = (Instant::now() + wait, &asker.runtime);
    // Before the first look, so that what is written after it is not passed over.
    let mut watch = (!wait.is_zero()).then(|| runtime.store().watch(stream));
    loop {
        let (of, asked) = (stream.clone(), query.clone());
        // While it waits it has none.
        let room = api.answers.room(query.max_bytes).await?;
        let found = runtime.blocking(move |store| store.changes(&of, &asked)).await?;
        let Some(watch) = watch.as_mut().filter(|_| found.changes.is_empty() && Instant::now() < deadline) else {
            return Ok((found, room));
        };
        query.cursor = Some(found.cursor.clone());
        if found.more {
            continue;
        }
        let room = room.empty();
        tokio::select! {
            _ = watch.changed() => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + CHECK_KEY)) => {}
            () = api.stop.cancelled() => return Ok((found, room)),
        }
        asker.check().await?;
        if Instant::now() >= deadline && !watch.has_changed().unwrap_or(false) {
            return Ok((found, room));
        }
    }
}

/// Changes as they come.
async fn follow(api: Api, asker: Asker, stream: StreamKey, asked: Asked) -> Result<Response, Problem> {
    let mut asked = asked;
    asked.query.max_bytes = asked.query.max_bytes.min(FOLLOW_BYTES);
    let watch = asker.runtime.store().watch(&stream);
    // Found out now, so that a bad cursor is an answer with its status.
    let (of, query) = (stream.clone(), asked.query.clone());
    let first = asker.runtime.blocking(move |store| store.changes(&of, &query)).await?;
    let state = Follow {
        api,
        asker,
        checked: Instant::now(),
        stream,
        query: asked.query,
        watch,
        next: Some(first),
        room: None,
        queue: Vec::new().into_iter(),
    };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next_event().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Follow {
    api: Api,
    asker: Asker,
    /// When the key was last found good.
    checked: Instant,
    stream: StreamKey,
    query: ChangesQuery,
    watch: tokio::sync::watch::Receiver<u64>,
    next: Option<ChangePage>,
    /// The memory of the page whose changes are sent.
    room: Option<Room>,
    queue: std::vec::IntoIter<Change>,
}

impl Follow {
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if self.checked.elapsed() >= CHECK_KEY {
                self.asker.check().await.ok()?;
                self.checked = Instant::now();
            }
            if let Some(change) = self.queue.next() {
                let mut text = String::new();
                Writer::default().record(&mut text, &change);
                return Some(Event::default().event("change").id(&change.cursor).data(text));
            }
            // None there after a while: the client comes back.
            let room = match self.room.take() {
                Some(room) => room,
                None => self.api.answers.room(FOLLOW_BYTES).await.ok()?,
            };
            let page = if let Some(page) = self.next.take() {
                page
            } else {
                let (of, query) = (self.stream.clone(), self.query.clone());
                let read = self.asker.runtime.blocking(move |store| store.changes(&of, &query)).await;
                // On an error the client comes back with its last cursor and is told as an answer.
                read.inspect_err(|error| tracing::debug!(%error, "a stream of changes ended")).ok()?
            };
            self.query.cursor = Some(page.cursor);
            let idle = page.changes.is_empty() && !page.more;
            self.api.metrics.read(page.changes.len());
            self.queue = page.changes.into_iter();
            // Who waits for changes has none.
            self.room = (!idle).then_some(room);
            if idle {
                tokio::select! {
                    changed = self.watch.changed() => changed.ok()?,
                    () = tokio::time::sleep(CHECK_KEY) => {}
                    () = self.api.stop.cancelled() => return None,
                }
            }
        }
    }
}

fn page(page: &ChangePage, api: &Api) -> Response {
    let bytes: usize = page.changes.iter().map(|change| change.data.len() + change.id.len() + 256).sum();
    let mut text = String::with_capacity(bytes + 128);
    let mut writer = Writer::default();
    text.push_str("{\"records\":[");
    for (at, change) in page.changes.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        writer.record(&mut text, change);
    }
    text.push_str("],\"cursor\":\"");
    text.push_str(&page.cursor);
    text.push_str(if page.more { "\",\"more\":true}" } else { "\",\"more\":false}" });
    api.metrics.read(page.changes.len());
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Writes records as JSON. Neighbors mostly have the same times, whose texts are kept.
#[derive(Default)]
struct Writer {
    first_seen: (Option<Timestamp>, String),
    modified: (Option<Timestamp>, String),
}

impl Writer {
    fn record(&mut self, out: &mut String, change: &Change) {
        let first_seen = shown(&mut self.first_seen, change.first_seen_at);
        let modified = shown(&mut self.modified, change.last_modified_at);
        out.push_str("{\"id\":");
        push_json(out, &change.id);
        for (name, value) in [
            (",\"last_action\":\"", change.action.word()),
            ("\",\"first_seen_at\":\"", first_seen),
            ("\",\"last_modified_at\":\"", modified),
            ("\",\"cursor\":\"", &change.cursor),
        ] {
            out.push_str(name);
            out.push_str(value);
        }
        out.push_str("\",\"deleted_at\":");
        if change.deleted_at().is_some() {
            out.push('"');
            out.push_str(modified);
            out.push('"');
        } else {
            out.push_str("null");
        }
        out.push_str(",\"data\":");
        out.push_str(if change.data.is_empty() { "null" } else { &change.data });
        out.push('}');
    }
}

fn shown(kept: &mut (Option<Timestamp>, String), at: Timestamp) -> &str {
    if kept.0 != Some(at) {
        *kept = (Some(at), at.to_string());
    }
    &kept.1
}

/// A text as JSON.
fn push_json(out: &mut String, text: &str) {
    if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}
