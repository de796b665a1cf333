//! The functions behind `sdk/host.js`, a file a topic. They check what they are given like strangers' input: the SDK calls
//! them, but a script may have changed what the SDK stands on.

pub mod codec;
pub mod digest;
pub mod http;
pub mod random;
pub mod records;
pub mod state;
pub mod url;

use rquickjs::{Ctx, Function, Object, Result, function::IntoJsFunc};

/// The object that `sdk/host.js` takes its functions from.
pub fn functions<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    http::add(&host)?;
    records::add(&host)?;
    state::add(&host)?;
    codec::add(&host)?;
    digest::add(&host)?;
    random::add(&host)?;
    url::add(&host)?;
    Ok(host)
}

fn add<'js, P, F>(host: &Object<'js>, name: &str, function: F) -> Result<()>
where
    F: IntoJsFunc<'js, P> + 'js,
{
    host.set(name, Function::new(host.ctx().clone(), function)?.with_name(name)?)
}
