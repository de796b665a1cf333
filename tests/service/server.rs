//! The service: within the test's process for most tests, as a process of its own where it is to be killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use terapi::api;
use terapi::ids::EnvironmentName;
use terapi::keys::Scopes;
use terapi::runtime::{Options, Runtime, Service};
use terapi::store::embedded::StoreOptions;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The service within this process.
pub(crate) struct Server {
    pub(crate) service: Service,
    pub(crate) url: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// Options for tests in this data directory.
pub(crate) fn options(dir: &Path) -> Options {
    Options {
        networks: vec!["127.0.0.0/8".parse().unwrap()],
        secrets_file: dir.join("secrets.key"),
        store: StoreOptions { cache_bytes: 8 << 20, ..StoreOptions::default() },
        ..Options::default()
    }
}

impl Server {
    /// Serves a data directory, with patience for runs under way when it stops.
    pub(crate) async fn start(dir: &Path, options: Options, grace: Duration) -> Self {
        let service = Service::open(dir, options).unwrap_or_else(|error| panic!("{error}"));
        service.create_keyring().unwrap();
        let stop = CancellationToken::new();
        let listener = api::serve::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = api::BodyLimits { upload: 16 << 20, ..api::BodyLimits::default() };
        let router = api::router(service.clone(), std::sync::Arc::default(), stop.clone(), bodies);
        let (service_too, stopped) = (service.clone(), stop.clone());
        let serving = tokio::spawn(async move {
            let api = api::serve::serve(listener, None, router, stopped.clone(), grace, api::serve::Limits::default());
            let (served, ()) = tokio::join!(service_too.serve(stopped.clone(), grace), api);
            served.unwrap();
        });
        Self { service, url, stop, serving }
    }

    /// A key that may do everything in the environment `default`.
    pub(crate) async fn client(&self) -> Client {
        let made = self.service.default_environment().create_key("test", Scopes::all(), None).await.unwrap();
        Client::new(&self.url, made.text.expose())
    }

    /// A new environment, and a key that may do everything in it.
    pub(crate) async fn environment(&self, name: &str) -> (Runtime, Client) {
        let name: EnvironmentName = name.parse().unwrap();
        let runtime = self.service.create_environment(&name).await.unwrap();
        let made = runtime.create_key("test", Scopes::all(), None).await.unwrap();
        let client = Client::new(&self.url, made.text.expose());
        (runtime, client)
    }

    /// Asks it to stop, and returns when it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(super::PATIENCE, self.serving).await.expect("it stops").unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }
}

/// `terapi serve` as a process.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    /// Where its metrics are, if it serves them.
    pub(crate) metrics: Option<String>,
    /// Where it logs to.
    pub(crate) log: PathBuf,
}

/// The command on a data directory, with settings in its environment.
pub(crate) fn terapi(data: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TERAPI_")) {
        command.env_remove(name);
    }
    command.current_dir(data.parent().unwrap()).env("TERAPI_NETWORK_ALLOW", "127.0.0.0/8");
    command.envs(settings.iter().copied()).arg("--data-dir").arg(data);
    command
}

/// Prepares a data directory and returns the first key.
pub(crate) fn init(data: &Path) -> String {
    let made = terapi(data, &[]).args(["--json", "init"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

impl Process {
    /// Starts it, and returns when it listens.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        let log = data.with_extension("log");
        let to = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = terapi(data, &[("TERAPI_SERVER_LISTEN", "127.0.0.1:0")])
            .envs(settings.iter().copied())
            .args(["--json", "serve"])
            .stdout(Stdio::piped())
            .stderr(to)
            .spawn()
            .unwrap();
        end_with_the_tests(child.id());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            panic!("it does not listen: {line:?} {}", std::fs::read_to_string(&log).unwrap())
        };
        let metrics = said["metrics"].as_str().map(str::to_owned);
        Self { child, url: said["listening"].as_str().unwrap().to_owned(), metrics, log }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is over.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// How much it has logged.
    pub(crate) fn log_size(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len()
    }

    /// kill -9
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, which it is known to come to.
    pub(crate) async fn ended(mut self) -> std::process::ExitStatus {
        super::until("the process ends", async || self.child.try_wait().unwrap()).await
    }
}

/// Processes that nobody has ended yet. Some belong to all tests and are never dropped.
static LIVING: std::sync::Mutex<Vec<u32>> = std::sync::Mutex::new(Vec::new());

fn end_with_the_tests(id: u32) {
    static ASKED: std::sync::Once = std::sync::Once::new();
    LIVING.lock().unwrap().push(id);
    ASKED.call_once(|| {
        crate::support::at_exit(|| {
            for id in LIVING.lock().unwrap().drain(..) {
                let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            }
        });
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        LIVING.lock().unwrap().retain(|id| *id != self.child.id());
    }
}
