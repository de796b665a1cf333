//! Pagination: from one request and an answer to the next request.
//!
//! Nothing here calls the host itself: [`Pages`] is given what sends. What must hold for each kind of paging: it ends
//! where the API says so (a missing or blank cursor, no next link, an empty page), and it never asks for a page twice,
//! so an API that repeats itself ends in an error and not in an endless run. Whether the host fetches ahead changes none of
//! this: each page that comes from ahead is checked to be the one that would have been asked for.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::http::{Request, Response, link};
use crate::pointer::{self, Items, Pointer};

/// How an API divides a list into pages. Made by [`Link`], [`Cursor`], [`Offset`], or [`PageNumber`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Paging {
    kind: Result<Kind>,
    ahead: u32,
}

impl Paging {
    fn new(kind: Result<Kind>) -> Self {
        Self { kind, ahead: 0 }
    }

    /// Lets the host request up to so many pages, at most 8, before the script gets to them, so that it does not wait for
    /// each. The pages that come out are the same, in the same order.
    ///
    /// `Link::in_header().ahead(4)`, `PageNumber::of("").send_as("page").ahead(4)`
    ///
    /// The host can see ahead of [`Link::in_header`], and of [`PageNumber`] and [`Offset`] sent in the query, of an offset
    /// from the second page on, when the size of a page is known. Of cursors and links in a body, and of what is sent
    /// in a body, it cannot: there this does nothing.
    ///
    /// It has a price. With page numbers and offsets up to so many pages past the end are requested for nothing, and count
    /// as requests of the run. Pages that wait count as its memory.
    pub fn ahead(mut self, pages: u32) -> Self {
        self.ahead = pages;
        self
    }
}

#[derive(Debug, Clone)]
enum Kind {
    Link(Source),
    Cursor { from: Source, more: Option<Pointer>, to: Target },
    Count { at: u64, step: Step, items: Pointer, to: Target, full_page: usize },
}

/// Where an answer says what comes next.
#[derive(Debug, Clone)]
enum Source {
    Header(&'static str),
    Body(Pointer),
    LastItem { items: Pointer, id: Pointer },
}

/// Where a request says which page it wants.
#[derive(Debug, Clone)]
enum Target {
    Query(String),
    Body(Pointer),
}

/// What the number of a page counts.
#[derive(Debug, Clone, Copy)]
enum Step {
    Items,
    Pages,
}

/// The API hands out the whole URL of the next page. Query parameters of the first request are not sent again, since the link has them.
#[derive(Debug)]
pub struct Link(());

impl Link {
    /// In the `Link` header with `rel="next"` (RFC 8288), as GitHub does.
    pub fn in_header() -> Paging {
        Paging::new(Ok(Kind::Link(Source::Header("link"))))
    }

    /// In the body, at a JSON pointer: `Link::in_body("/links/next")`. Ends when it is missing, null, or blank.
    pub fn in_body(pointer: &str) -> Paging {
        Paging::new(Pointer::parse(pointer).map(|pointer| Kind::Link(Source::Body(pointer))))
    }
}

/// The API hands out a cursor, a token that the next request sends back. Ends when it is missing, null, or blank.
#[derive(Debug, Clone)]
#[must_use = "say how the cursor is sent back: `send_as` or `send_in_body`"]
pub struct Cursor {
    from: Result<Source>,
    more: Option<Result<Pointer>>,
}

impl Cursor {
    /// In the body, at a JSON pointer: `Cursor::in_body("/response_metadata/next_cursor")`. A string or a number.
    pub fn in_body(pointer: &str) -> Self {
        Self { from: Pointer::parse(pointer).map(Source::Body), more: None }
    }

    /// In a header of the answer.
    pub fn in_header(name: &'static str) -> Self {
        Self { from: Ok(Source::Header(name)), more: None }
    }

    /// The id of the page's last item, as with Stripe: `Cursor::of_last_item("/data", "/id")`. Ends with the first empty page.
    pub fn of_last_item(items: &str, id: &str) -> Self {
        let from = Pointer::parse(items).and_then(|items| Ok(Source::LastItem { items, id: Pointer::parse(id)? }));
        Self { from, more: None }
    }

    /// Also ends where the body has `false` at this JSON pointer: `/has_more`, `/data/issues/pageInfo/hasNextPage`. It must be there.
    pub fn while_true(mut self, pointer: &str) -> Self {
        self.more = Some(Pointer::parse(pointer));
        self
    }

    /// Sends it as this parameter of the query, in place of one that the first request had.
    pub fn send_as(self, parameter: impl Into<String>) -> Paging {
        self.paging(Ok(Target::Query(parameter.into())))
    }

    /// Sends it in the request's JSON body, at a pointer such as `/variables/after`.
    pub fn send_in_body(self, pointer: &str) -> Paging {
        self.paging(Pointer::parse(pointer).map(Target::Body))
    }

    fn paging(self, to: Result<Target>) -> Paging {
        let Self { from, more } = self;
        Paging::new(from.and_then(|from| Ok(Kind::Cursor { from, more: more.transpose()?, to: to? })))
    }
}

/// The API wants to know how many items to skip. Ends with the first empty page.
#[derive(Debug, Clone)]
#[must_use = "say how the offset is sent: `send_as` or `send_in_body`"]
pub struct Offset(Counted);

/// The API wants the number of the page. Ends with the first empty page.
#[derive(Debug, Clone)]
#[must_use = "say how the number is sent: `send_as` or `send_in_body`"]
pub struct PageNumber(Counted);

#[derive(Debug, Clone)]
struct Counted {
    items: Result<Pointer>,
    at: u64,
    step: Step,
    full_page: usize,
}

impl Counted {
    fn new(items: &str, step: Step, at: u64) -> Self {
        Self { items: Pointer::parse(items), at, step, full_page: 1 }
    }

    fn paging(self, to: Result<Target>) -> Paging {
        let Self { items, at, step, full_page } = self;
        Paging::new(items.and_then(|items| Ok(Kind::Count { at, step, items, to: to?, full_page })))
    }
}

macro_rules! counted {
    ($name:ident, $step:expr, $start:literal, $word:literal) => {
        impl $name {
            /// Counts the items of the array at this JSON pointer: `/records`, or `""` where the whole body is the array.
            pub fn of(items: &str) -> Self {
                Self(Counted::new(items, $step, $start))
            }

            #[doc = concat!("The first ", $word, ", ", stringify!($start), " unless set here.")]
            pub fn starts_at(mut self, first: u64) -> Self {
                self.0.at = first;
                self
            }

            /// Also ends with a page of fewer items than this, which saves the request for an empty page. Only right where the
            /// API always fills its pages.
            pub fn full_page(mut self, items: usize) -> Self {
                self.0.full_page = items;
                self
            }

            /// Sends it as this parameter of the query.
            pub fn send_as(self, parameter: impl Into<String>) -> Paging {
                self.0.paging(Ok(Target::Query(parameter.into())))
            }

            /// Sends it in the request's JSON body, at a pointer such as `/paging/start`.
            pub fn send_in_body(self, pointer: &str) -> Paging {
                self.0.paging(Pointer::parse(pointer).map(Target::Body))
            }
        }
    };
}
counted!(Offset, Step::Items, 0, "offset");
counted!(PageNumber, Step::Pages, 1, "number");

/// What [`Pages`] needs of the host.
pub(crate) trait Host {
    /// Sends a request, as [`Request::send`] does.
    fn send(&mut self, request: Request) -> Result<Response>;

    /// Starts a list that the host fetches ahead; none if it does not.
    fn start(&mut self, first: &Request, next: Next<'_>, ahead: u32) -> Option<u64>;

    /// The next page of a list, which is the answer to `request`.
    fn take(&mut self, list: u64, request: &Request) -> Option<Result<Response>>;

    /// Ends a list.
    fn stop(&mut self, list: u64);
}

/// How the host finds the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    Link,
    Count { parameter: &'a str, first: u64, step: u64 },
}

/// The pages of a list; see [`Request::pages`].
pub(crate) struct Pages<H: Host> {
    next: Option<Result<Request>>,
    paging: Kind,
    /// How many pages the host may fetch ahead; 0 where it cannot or shall no more.
    ahead: u32,
    /// What the host fetches ahead.
    list: Option<u64>,
    /// Items of a page, as far as is known: how much an offset grows by.
    page_size: Option<u64>,
    /// Hashes of the cursors and links that were followed; 8 bytes a page stay small where the cursors might not.
    seen: BTreeSet<u64>,
    host: H,
}

impl<H: Host> Pages<H> {
    pub(crate) fn new(request: Request, paging: Paging, host: H) -> Self {
        let Paging { kind, ahead } = paging;
        let (next, paging) = match kind {
            Ok(Kind::Count { at, step, items, to, full_page }) => {
                (to.set(request, &at.to_string(), &at.to_string()), Kind::Count { at, step, items, to, full_page })
            }
            Ok(paging) => (Ok(request), paging),
            Err(error) => (Err(error), Kind::Link(Source::Header("link"))),
        };
        let page_size = match &paging {
            Kind::Count { full_page, .. } if *full_page > 1 => u64::try_from(*full_page).ok(),
            _ => None,
        };
        Self { next: Some(next), paging, ahead, list: None, page_size, seen: BTreeSet::new(), host }
    }

    /// The page that `request` asks for; none if the host sees no further one.
    fn page(&mut self, request: &Request) -> Option<Result<Response>> {
        if self.ahead > 0 && self.list.is_none() {
            let next = match &self.paging {
                Kind::Link(Source::Header("link")) => Some(Next::Link),
                Kind::Count { at, step, to: Target::Query(parameter), .. } => {
                    let step = match step {
                        Step::Pages => Some(1),
                        Step::Items => self.page_size,
                    };
                    step.map(|step| Next::Count { parameter, first: *at, step })
                }
                _ => None,
            };
            self.list = next.and_then(|next| self.host.start(request, next, self.ahead));
        }
        match self.list {
            Some(list) => self.host.take(list, request),
            None => Some(self.host.send(request.clone())),
        }
    }

    /// From here on each page is requested when its turn comes.
    fn stop_ahead(&mut self) {
        self.ahead = 0;
        if let Some(list) = self.list.take() {
            self.host.stop(list);
        }
    }

    /// The request for the page after `response`; none at the end.
    fn following(&mut self, mut request: Request, response: &Response) -> Result<Option<Request>> {
        match &mut self.paging {
            Kind::Link(source) => {
                let Some(found) = source.link(response)? else { return Ok(None) };
                let url = link::resolve(&request.url, &found);
                first_time(&mut self.seen, &url, "link", response)?;
                request.url = url;
                request.query.clear();
                Ok(Some(request))
            }
            Kind::Cursor { from, more, to } => {
                if let Some(pointer) = more
                    && !is_true(response, pointer)?
                {
                    return Ok(None);
                }
                let Some((text, json)) = from.cursor(response)? else { return Ok(None) };
                first_time(&mut self.seen, &text, "cursor", response)?;
                to.set(request, &text, &json).map(Some)
            }
            Kind::Count { at, step, items, to, full_page } => {
                let count = array(response, items)?.count;
                if count < (*full_page).max(1) {
                    return Ok(None);
                }
                // A parameter that the API does not know gives the same page for ever.
                first_time(&mut self.seen, response.bytes(), "page", response)?;
                let items = u64::try_from(count).unwrap_or(u64::MAX);
                *at = at.saturating_add(match step {
                    Step::Items => items,
                    Step::Pages => 1,
                });
                let next = to.set(request, &at.to_string(), &at.to_string()).map(Some);
                // Pages of another size than thought: what comes from ahead is not what follows this one.
                if matches!(step, Step::Items) && *self.page_size.get_or_insert(items) != items {
                    self.stop_ahead();
                }
                next
            }
        }
    }
}

impl<H: Host> Iterator for Pages<H> {
    type Item = Result<Response>;

    fn next(&mut self) -> Option<Self::Item> {
        let page = match self.next.take()? {
            Ok(request) => self.page(&request).map(|page| page.map(|response| (request, response))),
            Err(error) => Some(Err(error)),
        };
        let page = page.map(|page| {
            page.map(|(request, response)| {
                // What is wrong with the way on is told after this page, which is good.
                self.next = self.following(request, &response).transpose();
                response
            })
        });
        if !matches!(self.next, Some(Ok(_))) {
            self.stop_ahead();
        }
        page
    }
}

impl<H: Host> Drop for Pages<H> {
    /// A script that leaves the loop early needs no more pages.
    fn drop(&mut self) {
        self.stop_ahead();
    }
}

impl Source {
    fn link(&self, response: &Response) -> Result<Option<String>> {
        match self {
            Self::Header(name) => {
                let values = response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
                link::next(values.map(|(_, value)| value.as_str()))
                    .map_err(|error| error.context(response.request_name()))
            }
            Self::Body(_) | Self::LastItem { .. } => Ok(self.cursor(response)?.map(|(text, _)| text)),
        }
    }

    /// The cursor as text and as JSON.
    fn cursor(&self, response: &Response) -> Result<Option<(String, String)>> {
        match self {
            Self::Header(name) => match response.header(name).map(str::trim) {
                None | Some("") => Ok(None),
                Some(text) => Ok(Some((text.to_owned(), serde_json::to_string(text)?))),
            },
            // An answer without a body, such as 204, has no cursor either.
            Self::Body(_) if response.bytes().is_empty() => Ok(None),
            Self::Body(pointer) => cursor_at(response, response.bytes(), pointer),
            Self::LastItem { items, id } => {
                let Some(item) = array(response, items)?.last else { return Ok(None) };
                match cursor_at(response, item.get().as_bytes(), id)? {
                    None => Err(Error::permanent(format!("{}: an item without `{id}`", response.request_name()))),
                    cursor => Ok(cursor),
                }
            }
        }
    }
}

fn cursor_at(response: &Response, json: &[u8], pointer: &Pointer) -> Result<Option<(String, String)>> {
    let found = pointer.pick(json).map_err(|error| response.not_as_expected(&error))?;
    let Some(part) = found else { return Ok(None) };
    let text = pointer::scalar(part)
        .map_err(|error| error.context(format!("{}: the cursor at `{pointer}`", response.request_name())))?;
    Ok(text.map(|text| (text.into_owned(), RawValue::get(part).to_owned())))
}

fn is_true(response: &Response, pointer: &Pointer) -> Result<bool> {
    let found = pointer.pick(response.bytes()).map_err(|error| response.not_as_expected(&error))?;
    match found.map(RawValue::get) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(Error::permanent(format!("{}: neither true nor false at `{pointer}`", response.request_name()))),
    }
}

fn array<'a>(response: &'a Response, pointer: &Pointer) -> Result<Items<'a>> {
    let items = pointer.items(response.bytes()).map_err(|error| response.not_as_expected(&error))?;
    items.ok_or_else(|| Error::permanent(format!("{}: no array at `{pointer}`", response.request_name())))
}

impl Target {
    /// `request` for another page: `text` goes into a query, `json` into a body.
    fn set(&self, mut request: Request, text: &str, json: &str) -> Result<Request> {
        match self {
            Self::Query(name) => {
                request.query.retain(|(key, _)| key != name);
                Ok(request.query(name, text))
            }
            Self::Body(pointer) => {
                let body = std::str::from_utf8(request.body.as_deref().unwrap_or(b"{}"))?;
                request.body = Some(pointer.set(body, json)?.into_bytes());
                Ok(request)
            }
        }
    }
}

fn first_time(seen: &mut BTreeSet<u64>, what: &(impl Hash + ?Sized), name: &str, response: &Response) -> Result<()> {
    // Its keys are fixed, so it needs no source of randomness; nobody gains by a collision, which only stops the run.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    if seen.insert(hasher.finish()) {
        return Ok(());
    }
    Err(Error::permanent(format!(
        "{}: the API gave the same {name} twice, so the list would never end: check the pagination of this request",
        response.request_name()
    )))
}

#[cfg(test)]
mod tests;
