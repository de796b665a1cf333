//! QuickJS, what is loaded into it, and how a script is loaded and run.
//!
//! Before the snapshot `boot` makes the runtime and evaluates `sdk/boot.js`, whose exports are the SDK's side of what
//! happens here: `adopt` (the script's exports), `describe`, `run`, `explain` (an error), `settle` and `fire`.

use std::cell::{Cell, RefCell};

use rquickjs::{
    Context, Ctx, Error, FromJs, Function, IntoJs, Module, Object, Persistent, Promise, Result, Runtime, Value,
    promise::PromiseState,
};

use crate::event_loop::{self, Ending};
use crate::modules::{self, Names, Sources};
use crate::native;
use crate::values::Text;

/// Bytes of the stack in linear memory after which a recursion is a `RangeError`: about 6,900 calls of a small function, 2,700
/// through `map` or `call`. The stack has 256 KiB more (see `build`), for what runs without looking. The same frames take up to
/// 4.7 times as much of the host's stack for WebAssembly (proxies of proxies; measured over sixty kinds of recursion), which is
/// 12 MiB, `GUEST_STACK`.
const STACK: usize = 2 << 20;
/// The same while code is parsed: parentheses in parentheses take 18.7 times as much of the host's stack.
const PARSER_STACK: usize = 448 << 10;

/// Bytes in use at which QuickJS first looks for cycles. What it allocated before the snapshot counts, about 3 MiB, and each
/// look walks all of it, which takes longer than most runs; what has no cycle is freed at once anyway.
const GC_THRESHOLD: usize = 12 << 20;

pub struct Engine {
    #[expect(unused, reason = "the context lives by it")]
    runtime: Runtime,
    context: Context,
    boot: Persistent<Object<'static>>,
}

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
    static LOADED: RefCell<Option<std::result::Result<Kind, String>>> = const { RefCell::new(None) };
    static DOING: Cell<Doing> = const { Cell::new(Doing::Describing) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sync,
    Action,
}

/// What this instance is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// To load and describe a script: no host function answers.
    Describing,
    /// To load a script that is run next: it has nothing to ask for yet.
    Loading,
    Running,
}

pub fn doing() -> Doing {
    DOING.get()
}

/// Makes the runtime and loads the SDK. Runs once, before the snapshot; a panic here is an engine that was not built.
pub fn boot() {
    let runtime = Runtime::new().expect("memory for a runtime");
    runtime.set_max_stack_size(STACK);
    runtime.set_loader(Names, Sources);
    runtime.set_host_promise_rejection_tracker(Some(Box::new(event_loop::note_rejection)));
    let context = Context::full(&runtime).expect("memory for a context");
    let boot = context.with(|ctx| {
        let loaded: Result<Persistent<Object<'static>>> = (|| {
            ctx.globals().set("__terapi", native::functions(&ctx)?)?;
            let code = modules::sdk("terapi:sdk/boot.js").expect("the SDK has a boot module");
            let (module, done) = Module::declare(ctx.clone(), "terapi:sdk/boot.js", code)?.eval()?;
            done.finish::<()>()?;
            ctx.globals().remove("__terapi")?;
            Ok(Persistent::save(&ctx, module.namespace()?))
        })();
        loaded.unwrap_or_else(|error| panic!("the SDK does not load: {error} {}", caught(&ctx)))
    });
    runtime.run_gc();
    context.with(|ctx| fill_holes(&ctx));
    runtime.set_gc_threshold(GC_THRESHOLD);
    ENGINE.set(Some(Engine { runtime, context, boot }));
}

/// Takes what is free between the objects of the snapshot, for good. A run's own objects then lie side by side behind it:
/// a page that a run writes to is copied for it, and pages that many runs leave alone cost nothing.
fn fill_holes(ctx: &Ctx<'_>) {
    // QuickJS's allocator has pools for small sizes, up to this one, and asks another for pages of 4 KiB and what is large.
    const LARGEST: usize = 512;
    // SAFETY: memory that is allocated and never used again.
    unsafe {
        let runtime = rquickjs::qjs::JS_GetRuntime(ctx.as_raw().as_ptr());
        let allocate = |size: usize| rquickjs::qjs::js_malloc_rt(runtime, size as _) as usize;
        let behind = allocate(1 << 20);
        for size in (8..LARGEST).step_by(8) {
            while allocate(size) < behind {}
        }
        rquickjs::qjs::js_free_rt(runtime, behind as *mut _);
    }
}

/// Parses code, in the part of the stack that this may take.
pub fn parsing<'js, R>(ctx: &Ctx<'js>, parse: impl FnOnce() -> R) -> R {
    // SAFETY: the runtime lives, and a number is set.
    let limit = |size: usize| unsafe {
        let runtime = rquickjs::qjs::JS_GetRuntime(ctx.as_raw().as_ptr());
        rquickjs::qjs::JS_SetMaxStackSize(runtime, size as _);
    };
    limit(PARSER_STACK);
    let parsed = parse();
    limit(STACK);
    parsed
}

/// Runs something with the SDK's boot module at hand.
fn with<R>(body: impl for<'js> FnOnce(Ctx<'js>, Object<'js>) -> R) -> R {
    ENGINE.with_borrow(|engine| {
        let engine = engine.as_ref().expect("booted before the snapshot");
        engine.context.with(|ctx| {
            let boot = engine.boot.clone().restore(&ctx).expect("of the same runtime");
            body(ctx, boot)
        })
    })
}

/// Loads the script; asked again, it says the same.
pub fn load() -> std::result::Result<Kind, String> {
    if let Some(loaded) = LOADED.with_borrow(Clone::clone) {
        return loaded;
    }
    let loaded = with(|ctx, boot| {
        let Some((name, code)) = modules::fetch_script() else {
            return Err("there is no script in this component: it is the engine alone".to_owned());
        };
        let kind: Result<String> = (|| {
            let (module, done) = modules::declare(&ctx, &name, code)?.eval()?;
            match done.finish::<Value>() {
                Ok(_) => {}
                Err(Error::WouldBlock) => {
                    return Err(rquickjs::Exception::throw_message(
                        &ctx,
                        &format!("{name} waits for something while it is loaded: do that in exec"),
                    ));
                }
                Err(error) => return Err(error),
            }
            boot.get::<_, Function>("adopt")?.call((module.namespace()?, name.clone()))
        })();
        match kind.as_deref() {
            Ok("action") => Ok(Kind::Action),
            Ok(_) => Ok(Kind::Sync),
            Err(_) => Err(explain(&ctx, &boot)),
        }
    });
    LOADED.set(Some(loaded.clone()));
    loaded
}

/// What the script says of itself: the SDK's object, read by `read`.
pub fn describe<R>(read: impl for<'js> FnOnce(&Object<'js>) -> Result<R>) -> std::result::Result<R, String> {
    load()?;
    with(|ctx, boot| {
        let described: Result<R> = (|| {
            let manifest: Object = boot.get::<_, Function>("describe")?.call(())?;
            read(&manifest)
        })();
        described.map_err(|_| explain(&ctx, &boot))
    })
}

/// How a run ended, as the SDK words it.
pub struct Failed {
    pub permanent: bool,
    pub message: String,
    pub details: Option<String>,
    pub retry_after_ms: Option<u64>,
}

impl Failed {
    fn permanently(message: String) -> Self {
        Self { permanent: true, message, details: None, retry_after_ms: None }
    }
}

/// Which run this is, and an action's input as JSON.
pub struct Call {
    pub run_id: String,
    pub connection: String,
    pub variant: String,
    pub config: String,
    pub input: Option<String>,
}

/// Runs the script to its end. Of an action: its output as JSON.
pub fn run(call: Call, wanted: Kind) -> std::result::Result<String, Failed> {
    DOING.set(Doing::Loading);
    let kind = load().map_err(Failed::permanently)?;
    DOING.set(Doing::Running);
    if kind != wanted {
        let (is, not) = if kind == Kind::Sync { ("a sync", "an action") } else { ("an action", "a sync") };
        return Err(Failed::permanently(format!("this script is {is} and was run as {not}")));
    }
    with(|ctx, boot| {
        let ended: Result<std::result::Result<String, Failed>> = (|| {
            let context = Object::new(ctx.clone())?;
            context.set("runId", call.run_id)?;
            context.set("connection", call.connection)?;
            context.set("variant", call.variant)?;
            context.set("config", call.config)?;
            let promise: Promise = boot.get::<_, Function>("run")?.call((context, call.input))?;
            match event_loop::drive(&ctx, &boot, &promise)? {
                Ending::Settled => {}
                Ending::Stuck => {
                    return Ok(Err(Failed::permanently(
                        "the script awaits something that never happens: no request is under way and no timer is set, \
                         so the promise that exec returned can never settle"
                            .to_owned(),
                    )));
                }
            }
            if promise.state() == PromiseState::Rejected {
                promise.result::<Value>().transpose()?;
            }
            let ended: Object = promise.result().unwrap_or(Err(Error::Unknown))?;
            if let Some(output) = crate::values::text_field(&ended, "output")? {
                return Ok(Ok(output));
            }
            Ok(Err(failed(&ended)?))
        })();
        ended.unwrap_or_else(|_| Err(Failed::permanently(explain(&ctx, &boot))))
    })
}

fn failed(ended: &Object<'_>) -> Result<Failed> {
    let retry_after: Option<f64> = ended.get("retryAfterMs")?;
    Ok(Failed {
        permanent: ended.get::<_, Option<bool>>("permanent")?.unwrap_or(true),
        message: crate::values::text_field(ended, "message")?.unwrap_or_default(),
        details: crate::values::text_field(ended, "details")?,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        retry_after_ms: retry_after.filter(|ms| *ms >= 0.0).map(|ms| ms as u64),
    })
}

/// The pending exception as text: message and stack.
fn explain<'js>(ctx: &Ctx<'js>, boot: &Object<'js>) -> String {
    let thrown = ctx.catch();
    let told: Result<Text> =
        boot.get::<_, Function>("explain").and_then(|explain| explain.call((thrown.clone(),)));
    match told {
        Ok(text) => text.0,
        Err(_) => {
            ctx.catch();
            describe_plainly(ctx, thrown)
        }
    }
}

fn caught(ctx: &Ctx<'_>) -> String {
    let thrown = ctx.catch();
    describe_plainly(ctx, thrown)
}

/// An error's message and stack without the SDK's help.
fn describe_plainly<'js>(ctx: &Ctx<'js>, thrown: Value<'js>) -> String {
    let stack = thrown.as_object().and_then(|object| object.get::<_, Text>("stack").ok()).map(|text| text.0);
    let message = Text::from_js(ctx, thrown).map_or_else(|_| "the script threw something unspeakable".to_owned(), |text| text.0);
    ctx.catch();
    format!("{message}\n{}", stack.unwrap_or_default()).trim_end().to_owned()
}

/// A JavaScript value, for native functions that make one out of a Rust value that may be missing.
pub fn or_null<'js, T: IntoJs<'js>>(ctx: &Ctx<'js>, value: Option<T>) -> Result<Value<'js>> {
    match value {
        Some(value) => value.into_js(ctx),
        None => Ok(Value::new_null(ctx.clone())),
    }
}
