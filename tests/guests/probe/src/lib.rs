//! Does whatever a test asks of it: the configuration is a list of steps, done one after the other. What a step brought
//! goes to the log as `<step>: <result>`; an error of the host does not end the run.
//!
//! Steps call the SDK, or the contract's own functions where the SDK would not let such a call through.

#![allow(clippy::panic, reason = "to panic is what some steps are for")]

mod misuse;

use std::borrow::Cow;
use std::time::Duration;

use terapi_guest::http::{Waited, wait_for};
use terapi_guest::prelude::*;

mod raw {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "host-functions",
        type_section_suffix: "-probe",
    });
}

use raw::terapi::sync::{http as raw_http, records as raw_records};

/// A record whose JSON is any text at all, JSON or not.
struct Thing<'a> {
    id: &'a str,
    data: Cow<'a, str>,
}

impl Model for Thing<'_> {
    const NAME: &'static str = "Thing";
    const IGNORE: &'static [&'static str] = &["seen"];

    fn id(&self) -> Cow<'_, str> {
        self.id.into()
    }

    fn schema() -> String {
        r#"{"type":"object"}"#.to_owned()
    }

    fn write_json(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.data.as_bytes());
        Ok(())
    }
}

/// A second model with fields, as an author writes it.
#[model]
struct Other {
    id: u64,
    text: String,
}

/// In no manifest.
#[model]
struct Stranger {
    id: u64,
}

#[data]
struct Config {
    #[serde(default)]
    steps: Vec<Step>,
}

#[data]
#[derive(Default)]
#[serde(default)]
struct Step {
    r#do: String,
    n: u64,
    size: usize,
    text: String,
    url: String,
    /// Ids, or ids and JSON by turns.
    list: Vec<String>,
    timeout_ms: Option<u64>,
    retries: u32,
}

/// Does the steps of its configuration.
#[sync(mode = "incremental", models = [Thing, Other])]
fn probe(run: &Run<Config>) -> Result<()> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for step in &run.config.steps {
        let result = match step.r#do.as_str() {
            "who" => format!("{} {} {}", run.id, run.connection, run.variant),
            "end" => return Ok(()),
            "fail" => {
                let error = Error::permanent(text(step)).with_details(&run.config.steps.len());
                return Err(error);
            }
            "fail-transient" => {
                let error = Error::transient(text(step));
                return Err(match step.timeout_ms {
                    Some(ms) => error.with_retry_after(Duration::from_millis(ms)),
                    None => error,
                });
            }
            "hold" => {
                held.push(vec![1; step.size]);
                held.iter().map(Vec::len).sum::<usize>().to_string()
            }
            "hold-forever" => loop {
                held.push(vec![1; step.size]);
            },
            misuse if misuse::STEPS.contains(&misuse) => misuse::step(step),
            _ => words(call(step)),
        };
        info!("{}: {}", step.r#do, result);
    }
    Ok(())
}

fn words(result: Result<String>) -> String {
    result.unwrap_or_else(|error| format!("{:?} error: {}", error.kind(), error.message()))
}

/// The text of a step, repeated to its size if it has one.
fn text(step: &Step) -> String {
    if step.size == 0 { step.text.clone() } else { "x".repeat(step.size) }
}

fn call(step: &Step) -> Result<String> {
    Ok(match step.r#do.as_str() {
        // http
        "fetch" => {
            let answer = request(step).send_any()?;
            format!("{} {} bytes: {}", answer.status, answer.bytes().len(), excerpt(&answer.text()))
        }
        // As it stands, past the SDK: `text` is the method, `list` names and values of headers, `size` bytes are the body,
        // `n` redirects are followed.
        "request" => {
            let asked = raw_http::Request {
                method: if step.text.is_empty() { "GET".to_owned() } else { step.text.clone() },
                headers: owned_pairs(step),
                body: (step.size > 0).then(|| vec![b'x'; step.size]),
                timeout_ms: step.timeout_ms.and_then(|ms| ms.try_into().ok()),
                redirects: u32::try_from(step.n)?,
                retries: step.retries,
                ..raw_request(&step.url)
            };
            match raw_http::fetch(&asked) {
                Ok(answer) => {
                    let place = answer.headers.iter().find(|(name, _)| name == "location").map_or("-", |(_, it)| it);
                    let body = excerpt(&String::from_utf8_lossy(&answer.body));
                    format!("{} {} {} bytes: {body}", answer.status, excerpt(place), answer.body.len())
                }
                Err(error) => format!("{error:?}"),
            }
        }
        "post-binary" => {
            let answer = post(&step.url).body(vec![0xff; step.size]).send_any()?;
            format!("{} {:?}", answer.status, &answer.bytes()[..answer.bytes().len().min(4)])
        }
        "post" => {
            let answer = post(&step.url).body(vec![b'x'; step.size]).send_any()?;
            format!("{} {} bytes: {}", answer.status, answer.bytes().len(), excerpt(&answer.text()))
        }
        "fetch-all" => {
            let answers = fetch_all((0..step.n).map(|nth| request(step).query("nth", nth)));
            answers
                .into_iter()
                .map(|answer| words(answer.map(|it| excerpt(&it.text()))))
                .collect::<Vec<_>>()
                .join(" | ")
        }
        "fetch-all-raw" => {
            let request = raw_request(&step.url);
            let answers = raw_http::fetch_all(&vec![request; usize::try_from(step.n)?]);
            let bad = answers.iter().filter(|answer| answer.is_err()).count();
            format!(
                "{} answers, {bad} errors, last {:?}",
                answers.len(),
                answers.last().map(|it| it.as_ref().map(|it| it.status))
            )
        }
        "start" => {
            let mut tickets = Vec::new();
            for nth in 0..step.n {
                tickets.push(words(start(&request(step).query("nth", nth)).map(|ticket| format!("{ticket:?}"))));
            }
            tickets.join(" ")
        }
        "start-posts" => {
            for _ in 0..step.n {
                start(&post(&step.url).body(vec![b'x'; step.size]))?;
            }
            "started".to_owned()
        }
        "wait" => {
            let mut answers = Vec::new();
            for _ in 0..step.n {
                answers.push(match wait() {
                    Some((ticket, answer)) => format!("{ticket:?} {}", words(answer.map(|it| excerpt(&it.text())))),
                    None => "none".to_owned(),
                });
            }
            answers.join(" | ")
        }
        "wait-for" => {
            let time = Duration::from_millis(step.timeout_ms.unwrap_or_default());
            let waited = (0..step.n.max(1)).map(|_| match wait_for(time) {
                Waited::Done(ticket, answer) => format!("{ticket:?} {}", words(answer.map(|it| excerpt(&it.text())))),
                Waited::TimedOut => "timed out".to_owned(),
            });
            waited.collect::<Vec<_>>().join(" | ")
        }
        // `text` says how: `count` from and by the numbers of `list`, or `link` with `list` as the first query. `n` pages
        // ahead.
        // The same `-with` headers, the list's names and values.
        "start-pages" | "start-pages-with" => {
            let number = |at: usize| step.list.get(at).and_then(|text| text.parse().ok()).unwrap_or(1);
            let counter = || raw_http::Counter { parameter: "page".to_owned(), first: number(0), step: number(1) };
            let counts = step.text == "count";
            let next = if counts { raw_http::NextPage::Count(counter()) } else { raw_http::NextPage::Link };
            let first = raw_http::Request {
                timeout_ms: step.timeout_ms.and_then(|ms| ms.try_into().ok()),
                headers: if step.r#do.ends_with("-with") { owned_pairs(step) } else { Vec::new() },
                query: if counts { vec![("page".to_owned(), "999".to_owned())] } else { owned_pairs(step) },
                ..raw_request(&step.url)
            };
            match raw_http::start_pages(&first, &next, u32::try_from(step.n)?) {
                Ok(list) => list.to_string(),
                Err(error) => format!("{error:?}"),
            }
        }
        // From the list with the number `size`.
        "take-pages" => {
            let pages = (0..step.n).map(|_| match raw_http::take_page(step.size as u64) {
                Some(Ok(page)) => {
                    format!("{} {}", page.status, excerpt(String::from_utf8_lossy(&page.body).trim_end()))
                }
                Some(Err(error)) => format!("{error:?}"),
                None => "none".to_owned(),
            });
            pages.collect::<Vec<_>>().join(" | ")
        }
        "drain-pages" => {
            let pages = std::iter::from_fn(|| raw_http::take_page(step.size as u64));
            let pages: Vec<_> = pages.map(|page| page.map_or(0, |page| page.status)).collect();
            format!("{} pages of status {:?}", pages.len(), pages.iter().max())
        }
        "stop-pages" => {
            raw_http::stop_pages(step.size as u64);
            "ok".to_owned()
        }
        "sdk-pages" => {
            let paging = match step.text.as_str() {
                "number" => PageNumber::of("").send_as("page"),
                "offset" => Offset::of("").starts_at(1).send_as("page"),
                _ => Link::in_header(),
            };
            let pages = get(&step.url).retries(0).pages(paging.ahead(u32::try_from(step.n)?));
            pages.map(|page| words(page.map(|page| excerpt(&page.text())))).collect::<Vec<_>>().join(" | ")
        }
        // records
        "save" => saved(batch_save(things(step))?),
        "save-other" => saved(batch_save((0..step.n).map(|id| Other { id, text: text(step) }))?),
        "save-stranger" => saved(batch_save([Stranger { id: 1 }])?),
        "save-raw" => {
            let raw: Box<RawValue> = RawValue::from_string(step.text.clone())?;
            saved(batch_save_raw::<Thing>([(step.list.join(""), &*raw)])?)
        }
        "save-many" => {
            let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(step.size));
            let ids: Vec<String> = (0..step.n).map(|nth| format!("{}{nth}", step.text)).collect();
            let entries: Vec<_> =
                ids.iter().map(|id| raw_records::Entry { id: id.clone(), data: data.clone() }).collect();
            match raw_records::batch_save("Thing", &entries) {
                Ok(summary) => format!("{summary:?}"),
                Err(error) => format!("{error:?}"),
            }
        }
        "save-for-ever" => {
            let mut nth = 0_u64;
            loop {
                let ids: Vec<String> = (0..step.n)
                    .map(|_| {
                        nth += 1;
                        format!("{}{nth}", step.text)
                    })
                    .collect();
                batch_save(ids.iter().map(|id| Thing { id, data: "{}".into() }))?;
            }
        }
        "update" => saved(batch_update::<Thing>(pairs(step).map(|(id, fields)| (id, Verbatim(fields))))?),
        "delete" => batch_delete::<Thing>(&step.list)?.to_string(),
        "get" => {
            let times = usize::try_from(step.n.max(1))?;
            let ids: Vec<&String> = step.list.iter().cycle().take(step.list.len() * times).collect();
            shown(get_by_ids::<Thing>(ids)?.into_iter().map(Ok))?
        }
        "list" => shown(list::<Thing>())?,
        "list-raw" => {
            let after = (!step.text.is_empty()).then_some(step.text.as_str());
            match raw_records::list("Thing", after, u32::try_from(step.n)?) {
                Ok(listing) => format!("{} entries, next {}", listing.entries.len(), listing.next.is_some()),
                Err(error) => format!("{error:?}"),
            }
        }
        // Each record that the listing shows is changed, which puts it at the listing's end.
        "update-while-listing" => {
            let (mut seen, mut different) = (0, std::collections::BTreeSet::new());
            let mut after = None;
            loop {
                let page = raw_records::list("Thing", after.as_deref(), 500)
                    .map_err(|error| Error::permanent(format!("{error:?}")))?;
                seen += page.entries.len();
                batch_save(page.entries.iter().map(|it| Thing { id: &it.id, data: r#"{"touched":true}"#.into() }))?;
                different.extend(page.entries.into_iter().map(|it| it.id));
                after = page.next;
                if after.is_none() || seen > 10_000 {
                    break format!("{seen} seen, {} different", different.len());
                }
            }
        }
        "track" => track_deletes_start::<Thing>().map(|()| "ok".to_owned())?,
        "unseen" => unseen::<Thing>().collect::<Result<Vec<_>>>()?.join(" "),
        "unseen-raw" => {
            let after = (!step.text.is_empty()).then_some(step.text.as_str());
            match raw_records::unseen("Thing", after, u32::try_from(step.n)?) {
                Ok(page) => format!("{} ids, next {}", page.ids.len(), page.next.is_some()),
                Err(error) => format!("{error:?}"),
            }
        }
        "track-end" => track_deletes_end::<Thing>()?.to_string(),
        // state
        "date" => format!("{:?}", last_sync_date().map(Timestamp::as_millis)),
        "checkpoint" => format!("{:?}", checkpoint::<Box<RawValue>>()?.map(|it| it.get().to_owned())),
        "save-checkpoint" => save_checkpoint(&Verbatim(&json(step))).map(|()| "ok".to_owned())?,
        "save-checkpoint-raw" => format!("{:?}", raw::terapi::sync::state::save_checkpoint(&step.text)),
        "clear-checkpoint" => clear_checkpoint().map(|()| "ok".to_owned())?,
        "connection" => raw::terapi::sync::state::connection(),
        "metadata" => metadata::<Box<RawValue>>()?.get().to_owned(),
        "set-metadata" => set_metadata(&Verbatim(&json(step))).map(|()| "ok".to_owned())?,
        "set-metadata-raw" => format!("{:?}", raw::terapi::sync::state::set_metadata(&step.text)),
        "update-metadata" => update_metadata(&Verbatim(&json(step))).map(|()| "ok".to_owned())?,
        // WASI
        "clocks" => {
            let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
            let start = std::time::Instant::now();
            format!("{wall} {:?}", start.elapsed())
        }
        "random" => {
            use std::hash::{BuildHasher as _, RandomState};
            (0..step.n.max(1)).map(|_| RandomState::new().hash_one(1).to_string()).collect::<Vec<_>>().join(" ")
        }
        // log
        "log" => {
            let line = text(step);
            for _ in 0..step.n.max(1) {
                info!("{line}");
            }
            "ok".to_owned()
        }
        "levels" => {
            debug!("a debug line");
            info!("an info line"; id = 7, name = "x");
            warn!("a warn line");
            error!("an error line");
            "ok".to_owned()
        }
        "log-fields" => {
            raw::terapi::sync::log::log(raw::terapi::sync::log::Level::Info, "with fields", Some(&text(step)));
            "ok".to_owned()
        }
        other => panic!("no such step: {other}"),
    })
}

fn request(step: &Step) -> Request {
    let request = get(&step.url).retries(step.retries).redirects(u32::try_from(step.n.min(5)).unwrap_or_default());
    match step.timeout_ms {
        Some(ms) => request.timeout(Duration::from_millis(ms)),
        None => request,
    }
}

fn raw_request(url: &str) -> raw_http::Request {
    raw_http::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        query: Vec::new(),
        body: None,
        timeout_ms: None,
        retries: 0,
        retry_on: Vec::new(),
        redirects: 0,
    }
}

fn pairs(step: &Step) -> impl Iterator<Item = (&str, &str)> {
    step.list.chunks(2).map(|pair| (pair[0].as_str(), pair.get(1).map_or("{}", String::as_str)))
}

fn owned_pairs(step: &Step) -> Vec<(String, String)> {
    pairs(step).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The pairs of a step; an id of `<n` stands for one of n bytes, and so does a text.
fn things(step: &Step) -> impl Iterator<Item = Thing<'_>> {
    pairs(step).map(|(id, data)| {
        let id = match id.strip_prefix('<').and_then(|n| n.parse().ok()) {
            Some(n) => Box::leak("i".repeat(n).into_boxed_str()),
            None => id,
        };
        let data = match data.strip_prefix('<').and_then(|n| n.parse::<usize>().ok()) {
            // {"t":""} has 8 bytes.
            Some(n) => Cow::Owned(format!(r#"{{"t":"{}"}}"#, "d".repeat(n - 8))),
            None => Cow::Borrowed(data),
        };
        Thing { id, data }
    })
}

fn saved(saved: terapi_guest::records::Saved) -> String {
    format!("+{} ~{} ={} x{}", saved.added, saved.updated, saved.unchanged, saved.repeated)
}

fn shown(records: impl Iterator<Item = Result<Record>>) -> Result<String> {
    let records = records.collect::<Result<Vec<_>>>()?;
    if records.len() > 20 {
        return Ok(format!("{} records", records.len()));
    }
    let records: Vec<String> = records.iter().map(|it| format!("{}={}", it.id, excerpt(&it.data))).collect();
    Ok(records.join(" "))
}

fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The text of a step; with a size, an object of so many bytes.
fn json(step: &Step) -> String {
    if step.size == 0 { step.text.clone() } else { format!(r#"{{"t":"{}"}}"#, "d".repeat(step.size - 8)) }
}

/// JSON that is written as it is.
struct Verbatim<'a>(&'a str);

impl Serialize for Verbatim<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match RawValue::from_string(self.0.to_owned()) {
            Ok(raw) => raw.serialize(serializer),
            Err(error) => Err(serde::ser::Error::custom(error)),
        }
    }
}
