//! Requests: started here, answered by the event loop.

use rquickjs::{Array, Ctx, Exception, FromJs, IntoJs, Object, Result, TypedArray, Value};

use super::add as function;
use crate::bindings::terapi::sync::http;
use crate::engine::{self, Doing};
use crate::event_loop;
use crate::values::{Text, bytes, pairs, parse_json_of, text_field};

/// What JavaScript wants of a body.
#[derive(Clone, Copy)]
pub enum Want {
    /// JSON if it parses, else text; an empty text if there is none.
    Data,
    Text,
    Bytes,
}

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "request", |ctx: Ctx<'js>, asked: Object<'js>| request(&ctx, &asked))?;
    function(host, "setTimer", |ms: f64| event_loop::set_timer(ms) as f64)?;
    function(host, "clearTimer", |id: f64| event_loop::clear_timer(id as u64))
}

fn request<'js>(ctx: &Ctx<'js>, asked: &Object<'js>) -> Result<f64> {
    if engine::doing() != Doing::Running {
        return Err(Exception::throw_message(ctx, "no request can be made while the script is loaded: make it in exec"));
    }
    let body: Value = asked.get("body")?;
    let body = if body.is_undefined() || body.is_null() {
        None
    } else if body.is_string() {
        Some(Text::from_js(ctx, body)?.0.into_bytes())
    } else {
        Some(bytes(&TypedArray::<u8>::from_js(ctx, body)?))
    };
    let retry_on: Option<Array> = asked.get("retryOn")?;
    let request = http::Request {
        method: text_field(asked, "method")?.unwrap_or_default(),
        url: text_field(asked, "url")?.unwrap_or_default(),
        headers: pairs(ctx, asked.get("headers")?)?,
        query: pairs(ctx, asked.get("query")?)?,
        body,
        timeout_ms: asked.get::<_, Option<f64>>("timeoutMs")?.map(|ms| ms as u32),
        retries: asked.get::<_, Option<f64>>("retries")?.unwrap_or(0.0) as u32,
        retry_on: retry_on.map_or_else(|| Ok(Vec::new()), |list| {
            list.iter::<f64>().map(|status| status.map(|status| status as u16)).collect()
        })?,
        redirects: asked.get::<_, Option<f64>>("redirects")?.map_or(5, |count| count as u32),
    };
    let want = match text_field(asked, "want")?.as_deref() {
        Some("bytes") => Want::Bytes,
        Some("text") => Want::Text,
        _ => Want::Data,
    };
    Ok(event_loop::request(request, want) as f64)
}

type Answer<'js> = (Value<'js>, u16, Value<'js>, Value<'js>);

/// An outcome as the arguments of `settle`: an error or null, status, headers (flat), body.
pub fn answer<'js>(
    ctx: &Ctx<'js>,
    outcome: std::result::Result<http::Response, http::Error>,
    want: Want,
) -> Result<Answer<'js>> {
    let null = Value::new_null(ctx.clone());
    match outcome {
        Ok(response) => {
            let headers = Array::new(ctx.clone())?;
            for (index, (name, value)) in response.headers.into_iter().enumerate() {
                headers.set(2 * index, name)?;
                headers.set(2 * index + 1, value)?;
            }
            Ok((null, response.status, headers.into_value(), body(ctx, response.body, want)?))
        }
        Err(error) => {
            let (kind, message) = told(error);
            let error = Object::new(ctx.clone())?;
            error.set("kind", kind)?;
            error.set("message", message)?;
            Ok((error.into_value(), 0, null.clone(), null))
        }
    }
}

fn body<'js>(ctx: &Ctx<'js>, body: Vec<u8>, want: Want) -> Result<Value<'js>> {
    match want {
        Want::Bytes => TypedArray::new(ctx.clone(), body)?.into_js(ctx),
        Want::Text => text(body).into_js(ctx),
        Want::Data => {
            let mut text = text(body);
            let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
            if !matches!(first, Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')) {
                return text.into_js(ctx);
            }
            match parse_json_of(ctx, &mut text) {
                Ok(value) => Ok(value),
                Err(error) if error.is_exception() => {
                    ctx.catch();
                    text.into_js(ctx)
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// A body as text: UTF-8, what is none becomes U+FFFD, without a byte order mark.
fn text(body: Vec<u8>) -> String {
    let mut text = match String::from_utf8(body) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    text
}

/// An error's kind and what it says.
fn told(error: http::Error) -> (&'static str, String) {
    match error {
        http::Error::InvalidRequest(why) => ("invalid-request", why),
        http::Error::Denied(why) => ("denied", why),
        http::Error::TimedOut => ("timed-out", "no complete answer within the time".to_owned()),
        http::Error::BodyTooLarge(limit) => {
            ("body-too-large", format!("the answer is larger than {limit} bytes: ask for smaller pages"))
        }
        http::Error::Transport(why) => ("transport", why),
        http::Error::Exhausted(budget) => ("exhausted", super::state::exhausted(budget)),
    }
}
