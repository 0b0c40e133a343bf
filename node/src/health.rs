//! What a process depends on outside of itself, how each of these is, and what that means for its roles.
//!
//! A dependency that cannot be reached is waited for, with growing pauses and a state that says so; one that is wrong ends the start.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::roles::{Role, Roles};

/// How often a dependency is looked at.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long it may take to answer.
const PROBE_WAIT: Duration = Duration::from_secs(2);
/// Pause after the first attempt at a dependency that cannot be reached; it doubles with each further one.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The state of every dependency. Clones share it.
#[derive(Clone)]
pub(crate) struct Health {
    roles: Roles,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

/// Something outside the process that some of its roles cannot work without.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    /// Its name in health and logs, such as `database:auth`, `nats` or `service:things`.
    pub(crate) name: String,
    /// The roles of this process that need it.
    pub(crate) needed_by: Vec<Role>,
    /// Whether the process is not ready without it. A service that is away makes its callers' answers 503, and leaves them ready.
    pub(crate) is_vital: bool,
}

/// A dependency and why it cannot be used now, if it cannot.
struct Entry {
    dependency: Dependency,
    fault: Option<String>,
}

/// Why an attempt at a dependency failed.
pub(crate) enum Failure {
    /// It cannot be reached; trying again may succeed.
    Unreachable(String),
    /// It is not what it should be, and waiting does not mend it.
    Wrong(Error),
}

impl Health {
    /// Of a process with these roles, before anything was tried.
    pub(crate) fn new(roles: Roles) -> Self {
        Self {
            roles,
            entries: Arc::default(),
        }
    }

    /// Tries until the dependency can be used.
    ///
    /// # Errors
    /// That it is wrong.
    pub(crate) async fn reach<T, F>(&self, dependency: Dependency, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let name = dependency.name.clone();
        self.note(dependency, Some("not reached yet".to_owned()));
        let mut pause = RETRY_PAUSE;
        loop {
            match attempt().await {
                Ok(reached) => {
                    self.tell(&name, None);
                    return Ok(reached);
                }
                Err(Failure::Unreachable(cause)) => self.tell(&name, Some(cause)),
                Err(Failure::Wrong(error)) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Looks at the dependency now and then until `stop`.
    pub(crate) async fn watch<F>(self, dependency: Dependency, probe: impl Fn() -> F, stop: CancellationToken)
    where
        F: Future<Output = Result<(), String>>,
    {
        let name = dependency.name.clone();
        self.note(dependency, Some("not looked at yet".to_owned()));
        loop {
            let fault = match tokio::time::timeout(PROBE_WAIT, probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(cause)) => Some(cause),
                Err(_) => Some(format!("no answer within {} s", PROBE_WAIT.as_secs())),
            };
            self.tell(&name, fault);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
            }
        }
    }

    /// The first dependency that cannot be used, and why.
    pub(crate) fn first_fault(&self) -> Option<String> {
        self.first(|_| true)
    }

    /// The same among those without which the process is not ready.
    pub(crate) fn first_vital_fault(&self) -> Option<String> {
        self.first(|dependency| dependency.is_vital)
    }

    fn first(&self, counts: impl Fn(&Dependency) -> bool) -> Option<String> {
        let entries = self.entries();
        let mut counted = entries.values().filter(|entry| counts(&entry.dependency));
        counted.find_map(|entry| Some(format!("{}: {}", entry.dependency.name, entry.fault.as_ref()?)))
    }

    /// Every role and every dependency with its state, as `/health` shows them.
    pub(crate) fn describe(&self) -> (Value, Value) {
        let entries = self.entries();
        let roles: serde_json::Map<String, Value> = self
            .roles
            .iter()
            .map(|role| {
                let missing: Vec<&String> = entries
                    .iter()
                    .filter(|(_, entry)| entry.fault.is_some() && entry.dependency.needed_by.contains(&role))
                    .map(|(name, _)| name)
                    .collect();
                let state = if missing.is_empty() {
                    json!({ "status": "pass" })
                } else {
                    json!({ "status": "fail", "missing": missing })
                };
                (role.to_string(), state)
            })
            .collect();
        let checks: serde_json::Map<String, Value> = entries
            .iter()
            .map(|(name, entry)| {
                let state = match &entry.fault {
                    None => json!([{ "status": "pass" }]),
                    Some(cause) => json!([{ "status": "fail", "output": cause }]),
                };
                (name.clone(), state)
            })
            .collect();
        (roles.into(), checks.into())
    }

    /// Takes the dependency in, unless it is known.
    fn note(&self, dependency: Dependency, fault: Option<String>) {
        self.entries()
            .entry(dependency.name.clone())
            .or_insert(Entry { dependency, fault });
    }

    /// Keeps the state, and logs it when it changed.
    fn tell(&self, name: &str, fault: Option<String>) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        match (&entry.fault, &fault) {
            (None, Some(cause)) => tracing::warn!(dependency = name, cause, "a dependency cannot be used"),
            (Some(before), Some(cause)) if before != cause => {
                tracing::warn!(dependency = name, cause, "a dependency still cannot be used");
            }
            (Some(_), None) => tracing::info!(dependency = name, "a dependency can be used"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        entry.fault = fault;
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
