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
use crate::keys::{PresentedKey, Principal, Scope, Scopes};
use crate::runtime::{Runtime, RuntimeError};

/// Put among a request's extensions by who is on the machine and has the data directory: such a request needs no key.
#[derive(Debug, Clone)]
pub struct Local(pub EnvironmentName);

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
        let header = request.headers().get(AUTHORIZATION).cloned();
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
        let principal = Principal { environment, key_id: "local".to_owned(), scopes: Scopes::all() };
        return Ok(Asking { runtime, principal });
    }
    let missing = "send a key: `Authorization: Bearer terapi_…`; `terapi init` and `terapi key add` make them";
    let header = header.ok_or_else(|| Problem::unauthorized(missing))?;
    let text = header.to_str().unwrap_or_default();
    let presented = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().parse::<PresentedKey>(),
        _ => return Err(Problem::unauthorized(missing)),
    };
    let presented = presented.map_err(|error| Problem::unauthorized(error.to_string()))?;
    // Whether there is such an environment is nobody's business: the same answer as for an unknown key.
    let unknown = || Problem::unauthorized(crate::keys::KeyError::Unknown.to_string());
    let runtime = api.service.environment(presented.environment()).map_err(|_| unknown())?;
    match runtime.authenticate(&presented).await {
        Ok(principal) => Ok(Asking { runtime, principal }),
        Err(RuntimeError::Key(error)) => Err(Problem::unauthorized(error.to_string())),
        Err(error) => Err(error.into()),
    }
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
        let asking = parts.extensions.get::<Asking>().ok_or_else(|| Problem::unauthorized("send a key"))?;
        let Asking { runtime, principal } = asking.clone();
        if !N::ANY_OF.is_empty() && !N::ANY_OF.iter().any(|scope| principal.may(*scope)) {
            let wanted: Vec<_> = N::ANY_OF.iter().map(|scope| format!("`{scope}`")).collect();
            let detail = format!("this key has not the scope {}: use one that has", wanted.join(" or "));
            return Err(Problem::forbidden(detail));
        }
        Ok(Self { runtime, principal, needs: PhantomData })
    }
}
