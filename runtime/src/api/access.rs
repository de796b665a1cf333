//! Who asks, and what of.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{Api, Problem};
use crate::ids::EnvironmentName;
use crate::keys::{KeyError, PresentedKey, Principal, Scope, Scopes};
use crate::runtime::{Runtime, RuntimeError};

/// Put among a request's extensions by who is on the machine and has the data directory: such a request needs no key.
#[derive(Debug, Clone)]
pub struct Local(pub EnvironmentName);

/// Stands for the key of such a request.
pub(super) const LOCAL_KEY: &str = "local";

/// Who asks, found out.
#[derive(Clone)]
struct Asking {
    runtime: Runtime,
    principal: Principal,
}

/// The routes that answer everybody.
const OPEN: [&str; 2] = ["/v1/health", "/v1/ready"];

/// Lets through who has a key, and the routes that need none.
pub(super) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    if !OPEN.contains(&request.uri().path()) {
        let local = request.extensions().get::<Local>().cloned();
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        // Of two it is not said which one counts.
        let header = headers.next().filter(|_| headers.next().is_none()).cloned();
        match asking(&api, local, header).await {
            Ok(asking) => drop(request.extensions_mut().insert(asking)),
            Err(problem) => return problem.into_response(),
        }
    }
    next.run(request).await
}

async fn asking(api: &Api, local: Option<Local>, header: Option<HeaderValue>) -> Result<Asking, Problem> {
    if let Some(Local(environment)) = local {
        let runtime = api.service.environment(&environment)?;
        let principal = Principal { environment, key_id: LOCAL_KEY.to_owned(), scopes: Scopes::all() };
        return Ok(Asking { runtime, principal });
    }
    let presented = header.as_ref().and_then(presented).ok_or_else(no_good_key)?;
    let runtime = api.service.environment(presented.environment()).map_err(|_| no_good_key())?;
    match runtime.authenticate(&presented).await {
        Ok(principal) => Ok(Asking { runtime, principal }),
        // Only whoever has the key gets to know that.
        Err(RuntimeError::Key(error @ KeyError::Expired { .. })) => Err(Problem::unauthorized(error.to_string())),
        Err(RuntimeError::Key(_)) => Err(no_good_key()),
        Err(error) => Err(error.into()),
    }
}

/// The key in a header, if it looks like one.
fn presented(header: &HeaderValue) -> Option<PresentedKey> {
    let (scheme, key) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { key.trim().parse().ok() } else { None }
}

/// The same for no key and for any that opens nothing: what is wrong with it, and whether there is such an environment, is
/// nobody's business.
pub(super) fn no_good_key() -> Problem {
    Problem::unauthorized(
        "send a key that is good here, as it was shown when it was made: `Authorization: Bearer terapi_…`; `terapi init` and \
         `terapi key add` make them",
    )
}

/// What a route needs.
pub(super) trait Needs: Send + Sync + 'static {
    /// Any of these scopes will do; none of them means that every key will.
    const ANY_OF: &'static [Scope];
}

macro_rules! needs {
    ($($name:ident: $($scope:ident),*;)*) => { $(
        pub(super) struct $name;
        impl Needs for $name {
            const ANY_OF: &'static [Scope] = &[$(Scope::$scope),*];
        }
    )* };
}

needs! {
    AnyKey: ;
    ReadRecords: ReadRecords, Manage;
    RunActions: RunActions;
    Manage: Manage;
    Deploy: Deploy;
    Look: Manage, Deploy;
}

/// Who asks, with what the route needs.
pub(super) struct Caller<N> {
    pub(super) runtime: Runtime,
    pub(super) principal: Principal,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Api> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let asking = parts.extensions.get::<Asking>().ok_or_else(no_good_key)?;
        let Asking { runtime, principal } = asking.clone();
        if !N::ANY_OF.is_empty() && !N::ANY_OF.iter().any(|scope| principal.may(*scope)) {
            let wanted: Vec<_> = N::ANY_OF.iter().map(|scope| format!("`{scope}`")).collect();
            let detail = format!("this key has not the scope {}: use one that has", wanted.join(" or "));
            return Err(Problem::forbidden(detail));
        }
        Ok(Self { runtime, principal, needs: PhantomData })
    }
}
