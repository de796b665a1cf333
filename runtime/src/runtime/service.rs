//! All environments of a data directory: opened, made, served.
//!
//! The environment `default` is the data directory itself; others lie in `environments/NAME`, each a store of its own, so that
//! nothing of one can be read with the means of another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dispatch::DispatchFigures;
use super::{Options, Runtime, RuntimeError, Shared, lock};
use crate::clock::{Clock, SystemClock};
use crate::ids::{EnvironmentName, Timestamp};
use crate::sandbox::Artifacts;
use crate::secrets::{Keyring, SecretsError};
use crate::store::StoreError;
use crate::store::embedded::EmbeddedStore;

/// The folder of environments besides the default one.
const ENVIRONMENTS: &str = "environments";
/// How often housekeeping is done, in a process that serves and in one that runs something now and then.
const HOUSEKEEPING_MS: u64 = 15 * 60_000;

/// The folder of compiled scripts.
const ARTIFACTS: &str = "artifacts";
/// What its key is for.
const ARTIFACTS_KEY: &str = "terapi 2026 compiled scripts";

/// What was compiled of scripts, in a data directory that is there, whoever has it open.
pub(super) fn artifacts_in(data_dir: &Path) -> Option<Artifacts> {
    Some(Artifacts::new(data_dir.join(ARTIFACTS), EmbeddedStore::key_in(data_dir, ARTIFACTS_KEY)?))
}

/// Where the store of an environment lies.
#[must_use]
pub fn store_dir(data_dir: &Path, environment: &EnvironmentName) -> PathBuf {
    if *environment == EnvironmentName::default() {
        return data_dir.to_owned();
    }
    data_dir.join(ENVIRONMENTS).join(environment.as_str())
}

/// All environments of a data directory. A cheap handle.
#[derive(Clone)]
pub struct Service {
    data_dir: Arc<PathBuf>,
    shared: Arc<Shared>,
    environments: Arc<Mutex<BTreeMap<EnvironmentName, Runtime>>>,
    default: Runtime,
}

impl Service {
    /// Opens a data directory with all its environments, creating it if there is none.
    pub fn open(data_dir: &Path, options: Options) -> Result<Self, RuntimeError> {
        Self::open_with(data_dir, options, Arc::new(SystemClock))
    }

    /// The same, on this clock.
    pub fn open_with(data_dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, RuntimeError> {
        let store = EmbeddedStore::open(data_dir, &options.store)?;
        let artifacts = Artifacts::new(data_dir.join(ARTIFACTS), store.key(ARTIFACTS_KEY));
        let shared = Arc::new(Shared::new(clock, options, Some(Arc::new(artifacts))));
        let default = Runtime::new(EnvironmentName::default(), Arc::new(store), Arc::clone(&shared));
        let service = Self {
            data_dir: Arc::new(data_dir.to_owned()),
            shared,
            environments: Arc::default(),
            default: default.clone(),
        };
        lock(&service.environments).insert(EnvironmentName::default(), default);
        for name in service.on_disk()? {
            service.open_environment(&name)?;
        }
        Ok(service)
    }

    fn on_disk(&self) -> Result<Vec<EnvironmentName>, RuntimeError> {
        let doing = "list its environments";
        let entries = match std::fs::read_dir(self.data_dir.join(ENVIRONMENTS)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io(doing)(error).into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(StoreError::io(doing))?;
            // What has another name was put there by somebody else.
            names.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(names)
    }

    fn open_environment(&self, name: &EnvironmentName) -> Result<Runtime, RuntimeError> {
        let store = EmbeddedStore::open(&store_dir(&self.data_dir, name), &self.shared.options.store)?;
        let runtime = Runtime::new(name.clone(), Arc::new(store), Arc::clone(&self.shared));
        lock(&self.environments).insert(name.clone(), runtime.clone());
        Ok(runtime)
    }

    /// The environment that every data directory has.
    #[must_use]
    pub fn default_environment(&self) -> Runtime {
        self.default.clone()
    }

    /// An environment.
    pub fn environment(&self, name: &EnvironmentName) -> Result<Runtime, RuntimeError> {
        let found = lock(&self.environments).get(name).cloned();
        found.ok_or_else(|| RuntimeError::unknown("environment", name))
    }

    /// Every environment, by name.
    #[must_use]
    pub fn environments(&self) -> Vec<Runtime> {
        lock(&self.environments).values().cloned().collect()
    }

    /// Makes an environment.
    pub async fn create_environment(&self, name: &EnvironmentName) -> Result<Runtime, RuntimeError> {
        if self.environment(name).is_ok() {
            return Err(RuntimeError::Exists { what: "environment", name: name.to_string() });
        }
        let parent = self.data_dir.join(ENVIRONMENTS);
        std::fs::create_dir_all(&parent).map_err(StoreError::io("create the folder of environments"))?;
        let (service, key) = (self.clone(), name.clone());
        let opened = tokio::task::spawn_blocking(move || service.open_environment(&key)).await;
        let broke = |error: tokio::task::JoinError| StoreError::Storage {
            doing: "create an environment",
            source: std::io::Error::other(error.to_string()),
        };
        let runtime = opened.map_err(broke)??;
        if self.shared.scheduler.is_serving() {
            self.shared.scheduler.serve_environment(&runtime).await?;
        }
        Ok(runtime)
    }

    /// Makes the file with keys for credentials if there is none yet. Says whether it did.
    pub fn create_keyring(&self) -> Result<bool, RuntimeError> {
        let options = &self.shared.options;
        if Keyring::from_env_or_file(options.secret_keys.as_deref(), &options.secrets_file)?.is_some() {
            return Ok(false);
        }
        Keyring::generate()?.create_file(&options.secrets_file)?;
        Ok(true)
    }

    /// Seals every secret with a new key, and forgets the old ones. Keys from the environment are the operator's to change:
    /// then what is not sealed with the first of them is. Returns how many secrets were sealed anew.
    pub async fn rotate_secrets(&self) -> Result<u64, RuntimeError> {
        let options = &self.shared.options;
        let from_file = options.secret_keys.as_deref().is_none_or(|keys| keys.trim().is_empty());
        let put = |keyring: Keyring| {
            *self.shared.keyring.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(keyring));
        };
        let current = Keyring::from_env_or_file(options.secret_keys.as_deref(), &options.secrets_file)?;
        let current = current.ok_or_else(|| SecretsError::NoKey { file: options.secrets_file.clone() })?;
        let next = if from_file { current.rotated()? } else { current };
        if from_file {
            next.write_file(&options.secrets_file)?;
        }
        put(next.clone());
        let mut count = 0;
        for runtime in self.environments() {
            count += runtime.reseal().await?;
        }
        if from_file {
            let only = next.without_old();
            only.write_file(&options.secrets_file)?;
            put(only);
        }
        Ok(count)
    }

    /// Runs syncs as their schedules say, until `stop`; then lets what is under way come to its next checkpoint, for at most
    /// `grace`.
    pub async fn serve(&self, stop: CancellationToken, grace: Duration) -> Result<(), RuntimeError> {
        let scheduler = Arc::clone(&self.shared.scheduler);
        for runtime in self.environments() {
            runtime.tidy_calls(true).await?;
            scheduler.serve_environment(&runtime).await?;
        }
        let housekeeping = async {
            let mut interval = tokio::time::interval(Duration::from_millis(HOUSEKEEPING_MS));
            loop {
                interval.tick().await;
                for runtime in self.environments() {
                    runtime.keep_house_at_times().await;
                }
            }
        };
        tokio::select! {
            () = scheduler.serve(Arc::clone(&self.shared.clock), stop, grace) => Ok(()),
            () = housekeeping => Ok(()),
        }
    }

    /// Figures of the scheduler.
    #[must_use]
    pub fn figures(&self) -> DispatchFigures {
        self.shared.scheduler.figures()
    }

    /// How many runs started less than 1, 2, 4, 8 … milliseconds after they were due.
    #[must_use]
    pub fn start_delays(&self) -> [u64; 24] {
        self.shared.scheduler.delays()
    }
}

impl Runtime {
    /// Keeps house if that is due.
    pub(super) async fn keep_house_at_times(&self) {
        let now = self.shared.clock.now();
        let due = self.kept_house_at.load(Ordering::Relaxed).saturating_add(HOUSEKEEPING_MS);
        if now.0 < due {
            return;
        }
        self.kept_house_at.store(now.0, Ordering::Relaxed);
        if let Err(error) = self.keep_house(now).await {
            tracing::error!(%error, environment = %self.name(), "what is old could not be forgotten");
        }
    }

    /// Forgets what is old: records as the retention says, runs as it or else the configuration does, and calls.
    async fn keep_house(&self, now: Timestamp) -> Result<(), RuntimeError> {
        let keep = self.shared.options.keep_runs_ms;
        self.blocking(move |store| {
            store.prune(now)?;
            match keep.filter(|_| store.retention().is_ok_and(|retention| retention.runs_ms.is_none())) {
                Some(keep) => store.forget_runs_before(Timestamp(now.0.saturating_sub(keep))).map(drop),
                None => Ok(()),
            }
        })
        .await?;
        self.tidy_calls(false).await
    }
}
