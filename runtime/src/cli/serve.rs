//! `terapi serve`

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Context, Failed, output};
use crate::api::{self, BodyLimits, metrics, serve};
use crate::config::{ServerConfig, units::ByteSize};
use crate::runtime::Service;

/// Serve the API and run syncs as their schedules say
#[derive(Debug, Args)]
#[command(
    after_help = "Begin with `terapi init`, which makes the first key. SIGTERM and ctrl-C end it: runs come to rest at
their next checkpoint, requests under way are answered."
)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) at: ListenArgs,
}

/// Where it listens.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ListenArgs {
    /// Where the API listens [default: 127.0.0.1:8733]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        context.only_here("`terapi serve`")?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        let service = context.service()?;
        up(context, service, stop, std::future::ready(())).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Serves until `stop`, and does what is to be done `beside`.
pub(super) async fn up(
    context: &Context,
    service: Service,
    stop: CancellationToken,
    beside: impl Future<Output = ()>,
) -> Result<(), Failed> {
    let config = &context.config;
    config.check()?;
    let server = &config.server;
    let tls = match (&server.tls_cert, &server.tls_key) {
        (Some(certificate), Some(key)) => Some(serve::tls(certificate, key)?),
        _ => None,
    };
    let listener = serve::listen(server.listen).await?;
    let address = listener.local_addr().map_err(Failed::io("find out where it listens"))?;
    let figures: Arc<metrics::Metrics> = Arc::default();
    serve::raise_descriptor_limit();
    let (bodies, limits) = (body_limits(server), limits(server));
    let router = api::router(service.clone(), Arc::clone(&figures), stop.clone(), bodies);
    let grace = server.shutdown_grace;
    let metrics = match server.metrics_listen {
        Some(at) => Some((serve::listen(at).await?, metrics::router(figures, service.clone()))),
        None => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    if context.json {
        let at = metrics.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let metrics = at.map(|at| format!("http://{at}/metrics"));
        output::json(&serde_json::json!({ "listening": format!("{scheme}://{address}"), "metrics": metrics }))?;
    } else {
        let (bold, dim) = (output::BOLD, output::DIM);
        anstream::println!(
            "{bold}terapi{bold:#} serves {bold}{scheme}://{address}{bold:#}  {dim}data in {}{dim:#}",
            config.data_dir.display()
        );
    }
    let metrics = async {
        if let Some((listener, router)) = metrics {
            serve::serve(listener, None, router, stop.clone(), grace, limits.clone()).await;
        }
    };
    let api = serve::serve(listener, tls, router, stop.clone(), grace, limits.clone());
    let scheduled = service.serve(stop.clone(), grace);
    let (ended, (), (), ()) = tokio::join!(scheduled, api, metrics, beside);
    ended?;
    Ok(())
}

fn body_limits(server: &ServerConfig) -> BodyLimits {
    let bytes = |size: ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    BodyLimits {
        upload: bytes(server.max_body),
        together: bytes(server.body_memory),
        rate: server.body_rate.0,
        pause: server.header_timeout,
        time: server.body_timeout,
    }
}

fn limits(server: &ServerConfig) -> serve::Limits {
    serve::Limits {
        header: server.header_timeout,
        idle: server.idle_timeout,
        write: server.write_timeout,
        connections: usize::try_from(server.max_connections).unwrap_or(usize::MAX),
    }
}

/// Ends when the process is asked to.
pub(super) async fn stop_on_signal(stop: CancellationToken) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
    stop.cancel();
}
