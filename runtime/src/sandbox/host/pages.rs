//! Lists of pages that the host fetches ahead of the script.
//!
//! Each list has one task, and the task has one request under way for each page that its window has room for: `ahead` pages,
//! and one more for each that the script has asked for. So a page is requested at most `ahead` pages before it is asked
//! for, and at most `1 + ahead` are under way together.
//!
//! # Invariants
//! - Pages come out in the order of the list, whatever the order of the answers.
//! - After a page that [ends](Page::ends) the list none comes out. What lies past it is gone, and its memory given back,
//!   before the script gets that page.
//! - A link to another origin is followed without what authorized at the one before, as a redirect is.
//! - A body that waits here counts as the run's memory, and no longer when it is thrown away, wherever that happens.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::http::{WayOut, weight};
use super::{HostBroke, RunHost, link};
use crate::egress;
use crate::sandbox::bindings::http::{Counter, Error, NextPage, Request, Response};
use crate::sandbox::limits::{HeldMemory, RunMeter};

/// Lists at a time: a list of lists, and a few more.
const MAX_LISTS: usize = 8;
/// Pages ahead of what is asked for: enough that an API that takes eight times as long for a page as the script is waited
/// for no more.
const MAX_AHEAD: u32 = 8;

/// A list of pages. Dropping it ends its requests.
pub(in crate::sandbox) struct PageList {
    pages: mpsc::UnboundedReceiver<Page>,
    /// A permit for each page that may be requested.
    window: Arc<Semaphore>,
    task: AbortOnDropHandle<()>,
}

/// A page that waits to be asked for.
struct Page {
    answer: Result<egress::Response, Error>,
    body: HeldMemory,
}

impl RunHost {
    pub(super) fn start_pages(
        &mut self,
        meter: &Arc<RunMeter>,
        first: Request,
        next: NextPage,
        ahead: u32,
    ) -> wasmtime::Result<Result<u64, Error>> {
        if self.requests.lists.len() >= MAX_LISTS {
            let text = format!("{MAX_LISTS} lists of pages are started and not at their end: stop one first");
            return Ok(Err(Error::InvalidRequest(text)));
        }
        if matches!(next, NextPage::Count(Counter { step: 0, .. })) {
            return Ok(Err(Error::InvalidRequest("a counter with the step 0 asks for one page for ever".to_owned())));
        }
        let ahead = ahead.min(MAX_AHEAD);
        // The list's own copy of the request's body, and one for each that is under way.
        let held = meter.hold_memory(weight(&first).saturating_mul(u64::from(ahead) + 2))?;
        let window = Arc::new(Semaphore::new(ahead as usize));
        let (out, pages) = mpsc::unbounded_channel();
        let fetch = Fetch { way_out: self.way_out(meter), window: Arc::clone(&window), out };
        let task = tokio::spawn(async move {
            match next {
                NextPage::Count(counter) => fetch.count(first, counter).await,
                NextPage::Link => fetch.links(first).await,
            }
            drop(held);
        });
        self.requests.last_ticket += 1;
        let list = PageList { pages, window, task: AbortOnDropHandle::new(task) };
        self.requests.lists.insert(self.requests.last_ticket, list);
        Ok(Ok(self.requests.last_ticket))
    }

    pub(super) async fn take_page(
        &mut self,
        meter: &RunMeter,
        pages: u64,
    ) -> wasmtime::Result<Option<Result<Response, Error>>> {
        let Some(list) = self.requests.lists.get_mut(&pages) else { return Ok(None) };
        list.window.add_permits(1);
        if let Some(Page { answer, body }) = list.pages.recv().await {
            body.hand_on();
            return self.hand_over(meter, answer).map(Some);
        }
        if let Some(list) = self.requests.lists.remove(&pages) {
            list.task.await.map_err(|error| HostBroke(format!("a list of pages: {error}")))?;
        }
        Ok(None)
    }

    pub(super) async fn stop_pages(&mut self, pages: u64) {
        let Some(PageList { pages, task, .. }) = self.requests.lists.remove(&pages) else { return };
        drop(pages);
        task.abort();
        // What it held is given back when this is over, so that the script can use it at once.
        let _ = task.await;
    }
}

/// What the task of a list works with.
struct Fetch {
    way_out: WayOut,
    window: Arc<Semaphore>,
    out: mpsc::UnboundedSender<Page>,
}

impl Fetch {
    async fn page(&self, request: egress::Request) -> Page {
        let answer = self.way_out.send(request).await.map_err(Error::from);
        let bytes = answer.as_ref().map_or(0, |answer| answer.body.len() as u64);
        // Taken by egress, as the body came in.
        Page { answer, body: self.way_out.meter.held(bytes) }
    }

    /// Waits until one page more may be requested.
    async fn room(&self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.window.acquire().await {
            permit.forget();
        }
    }

    /// Pages by a number that is counted up, as many under way as there is room for.
    async fn count(&self, first: Request, Counter { parameter, first: start, step }: Counter) {
        let mut request = egress::Request::from(first);
        request.query.retain(|(name, _)| *name != parameter);
        // A page further on may come back before those in front of it and be the last.
        let over = AtomicBool::new(false);
        let mut under_way = FuturesOrdered::new();
        let mut next = Some(start);
        loop {
            tokio::select! {
                biased;
                Some(page) = under_way.next() => {
                    let page: Page = page;
                    let last = page.ends();
                    if last {
                        under_way.clear();
                    }
                    if self.out.send(page).is_err() || last {
                        return;
                    }
                }
                () = self.room(), if next.is_some() => {
                    let Some(number) = next.filter(|_| !over.load(Ordering::Relaxed)) else {
                        next = None;
                        continue;
                    };
                    next = number.checked_add(step);
                    let mut request = request.clone();
                    request.query.push((parameter.clone(), number.to_string()));
                    under_way.push_back(async {
                        let page = self.page(request).await;
                        over.fetch_or(page.ends(), Ordering::Relaxed);
                        page
                    });
                }
                else => return,
            }
        }
    }

    /// Pages by the link that each answer has to the next, one under way at a time.
    async fn links(&self, first: Request) {
        let mut request = egress::Request::from(first);
        // Hashes: 8 bytes a page stay small where the URLs might not.
        let mut seen = HashSet::new();
        loop {
            self.room().await;
            let page = self.page(request.clone()).await;
            let from = self.way_out.absolute(&request.url);
            let next = page.link(from.as_ref());
            if self.out.send(page).is_err() {
                return;
            }
            let next = next.and_then(|next| match next {
                Some(url) if !seen.insert(hash(url.as_str())) => Err(Error::InvalidRequest(
                    "the API gave the same link to the next page twice, so the list would never end".to_owned(),
                )),
                next => Ok(next),
            });
            match next {
                Ok(Some(url)) => {
                    if from.is_none_or(|from| from.origin() != url.origin()) {
                        request.headers.retain(|(name, _)| !egress::is_for_one_origin(name));
                    }
                    request.url = url.into();
                    request.query.clear();
                }
                Ok(None) => return,
                Err(error) => {
                    let _ = self.out.send(Page { answer: Err(error), body: self.way_out.meter.held(0) });
                    return;
                }
            }
        }
    }
}

impl Page {
    /// Whether a list that is counted ends with this page.
    fn ends(&self) -> bool {
        self.failed() || self.answer.as_ref().is_ok_and(|answer| is_empty_array(&answer.body))
    }

    fn failed(&self) -> bool {
        self.answer.as_ref().map_or(true, |answer| answer.status >= 400)
    }

    /// The URL of the page after this one, which came from `base`.
    fn link(&self, base: Option<&url::Url>) -> Result<Option<url::Url>, Error> {
        let Ok(answer) = &self.answer else { return Ok(None) };
        if self.failed() {
            return Ok(None);
        }
        let headers = answer.headers.iter().filter(|(name, _)| name == "link");
        let Some(target) = link::next(headers.map(|(_, value)| value.as_str())).map_err(Error::InvalidRequest)? else {
            return Ok(None);
        };
        let resolved = url::Url::options().base_url(base).parse(&target);
        let wrong = |error| Error::InvalidRequest(format!("the link to the next page is not a valid URL: {error}"));
        resolved.map(Some).map_err(wrong)
    }
}

fn is_empty_array(body: &[u8]) -> bool {
    let inner = body.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

fn hash(text: &str) -> u64 {
    // Its keys are fixed; nobody gains by a collision, which only ends the list with an error.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
