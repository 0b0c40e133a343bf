//! Every principal that a node remembers, found by credentials when it is admitted and by domain when something changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use trunkline_core::DomainId;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::secret::random_bytes;
use uuid::Uuid;

use crate::limits::PRINCIPALS_MAX;
use crate::session::Principal;
use crate::{Credentials, Realm};

/// Digest of credentials under a key that only this process has.
pub(crate) type Fingerprint = [u8; 32];

/// What a change of authorization touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched<'ids> {
    /// These objects of the domain.
    Ids(&'ids [Uuid]),
    /// Anything in the domain.
    All,
}

/// The principals of a node.
pub(crate) struct Registry {
    key: DigestKey,
    /// Number of changes applied, of any domain.
    changes: AtomicU64,
    by_credentials: DashMap<Fingerprint, Arc<Principal>>,
    by_domain: Mutex<HashMap<DomainId, Arc<Domain>>>,
}

/// The principals of one domain.
#[derive(Default)]
pub(crate) struct Domain {
    changes: AtomicU64,
    principals: Mutex<Vec<Weak<Principal>>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            key: DigestKey::new(random_bytes::<KEY_BYTES>()),
            changes: AtomicU64::new(0),
            by_credentials: DashMap::new(),
            by_domain: Mutex::default(),
        }
    }

    /// What equal credentials have in common and others have not.
    pub(crate) fn fingerprint(&self, credentials: &Credentials) -> Fingerprint {
        let (kind, realm) = match &credentials.realm {
            Realm::Client(id) => (b"client".as_slice(), id),
            Realm::Domain(domain) => (b"domain".as_slice(), domain),
        };
        self.key
            .digest(&[kind, realm.as_bytes(), credentials.secret.expose().as_bytes()])
    }

    /// The principal admitted by these credentials, if it may still be taken for granted.
    pub(crate) fn recall(&self, fingerprint: &Fingerprint) -> Option<Arc<Principal>> {
        let principal = self.by_credentials.get(fingerprint)?;
        principal.is_undisturbed().then(|| Arc::clone(&principal))
    }

    /// Number of changes applied so far; an admission that spans one is made anew.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Enters a principal that was admitted while the number of changes was `changes`; `false` if it is another one now.
    pub(crate) fn enter(&self, fingerprint: Fingerprint, principal: &Arc<Principal>, changes: u64) -> bool {
        let domain = self.domain(principal.domain_id());
        let mut principals = lock(&domain.principals);
        if principals.len() == principals.capacity() {
            principals.retain(|principal| principal.strong_count() > 0);
        }
        principals.push(Arc::downgrade(principal));
        drop(principals);
        // Entered first and compared then: a change either finds the principal above or is seen here.
        if self.changes() != changes {
            return false;
        }
        if self.by_credentials.len() >= PRINCIPALS_MAX {
            self.by_credentials
                .retain(|_, principal| Arc::strong_count(principal) > 1);
        }
        self.by_credentials.insert(fingerprint, Arc::clone(principal));
        true
    }

    /// The principals of a domain.
    pub(crate) fn domain(&self, domain_id: DomainId) -> Arc<Domain> {
        Arc::clone(lock(&self.by_domain).entry(domain_id).or_default())
    }

    /// Forgets what a change touched. Returns only when nothing from before it can be answered any more.
    pub(crate) fn apply(&self, domain_id: DomainId, touched: Touched<'_>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let domain = lock(&self.by_domain).get(&domain_id).map(Arc::clone);
        if let Some(domain) = domain {
            domain.apply(touched);
        }
    }

    /// Forgets everything, because changes may have been missed.
    pub(crate) fn apply_to_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let domains: Vec<_> = lock(&self.by_domain).values().map(Arc::clone).collect();
        for domain in domains {
            domain.apply(Touched::All);
        }
    }
}

impl Domain {
    /// Number of changes applied to the domain; a decision that spans one is made anew.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn apply(&self, touched: Touched<'_>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let principals: Vec<_> = {
            let mut principals = lock(&self.principals);
            principals.retain(|principal| principal.strong_count() > 0);
            principals.iter().filter_map(Weak::upgrade).collect()
        };
        for principal in principals {
            principal.apply(|id| match touched {
                Touched::Ids(ids) => ids.contains(&id),
                Touched::All => true,
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
