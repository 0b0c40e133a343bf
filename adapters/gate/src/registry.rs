//! Every principal that a node remembers, found by credentials when it is admitted and by domain when something changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use trunkline_bus::revision::Touched;
use trunkline_core::DomainId;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::secret::random_bytes;

use crate::limits::PRINCIPALS_MAX;
use crate::session::Principal;
use crate::{Credentials, Realm};

/// Digest of credentials under a key that only this process has.
pub(crate) type Fingerprint = [u8; 32];

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
            Realm::Client(id) => (b"client".as_slice(), id.as_bytes()),
            Realm::Domain(domain) => (b"domain".as_slice(), domain.as_bytes()),
            Realm::Certificate(id) => (b"certificate".as_slice(), id.as_bytes().as_slice()),
        };
        self.key.digest(&[kind, realm, credentials.secret.expose().as_bytes()])
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
        self.follow(principal);
        // Entered first and compared then: a change either finds the principal above or is seen here.
        if self.changes() != changes {
            return false;
        }
        if self.by_credentials.len() >= PRINCIPALS_MAX {
            self.forget_unused();
        }
        self.by_credentials.insert(fingerprint, Arc::clone(principal));
        true
    }

    /// Has changes reach a principal for as long as somebody holds it.
    pub(crate) fn follow(&self, principal: &Arc<Principal>) {
        let domain = self.domain(principal.domain_id());
        let mut principals = lock(&domain.principals);
        if principals.len() == principals.capacity() {
            principals.retain(|principal| principal.strong_count() > 0);
        }
        principals.push(Arc::downgrade(principal));
    }

    /// Forgets the principals that nobody uses, then the domains that have none left.
    fn forget_unused(&self) {
        self.by_credentials
            .retain(|_, principal| Arc::strong_count(principal) > 1);
        // A domain that is held elsewhere may just be entered; it is handed out under this lock alone.
        lock(&self.by_domain).retain(|_, domain| Arc::strong_count(domain) > 1 || domain.is_inhabited());
    }

    /// The principals of a domain.
    pub(crate) fn domain(&self, domain_id: DomainId) -> Arc<Domain> {
        Arc::clone(lock(&self.by_domain).entry(domain_id).or_default())
    }

    /// Forgets what a change touched. Returns only when nothing from before it can be answered any more.
    pub(crate) fn apply(&self, domain_id: DomainId, touched: &Touched) {
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
            domain.apply(&Touched::All);
        }
    }
}

impl Domain {
    /// Number of changes applied to the domain; a decision that spans one is made anew.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn is_inhabited(&self) -> bool {
        lock(&self.principals)
            .iter()
            .any(|principal| principal.strong_count() > 0)
    }

    fn apply(&self, touched: &Touched) {
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use trunkline_core::{ChannelId, ClientId, CredentialId, Secret};
    use uuid::Uuid;

    use super::*;
    use crate::lease::Lease;
    use crate::place::Place;
    use crate::{Action, Denial, Grant, Session};

    struct Scene {
        registry: Registry,
        domain_id: DomainId,
        principal: Arc<Principal>,
        fingerprint: Fingerprint,
    }

    fn scene() -> Scene {
        let registry = Registry::new();
        let domain_id = DomainId::new();
        let principal = principal_of(domain_id);
        let fingerprint = registry.fingerprint(&Credentials::of_client("a", Secret::new("b".to_owned())));
        assert!(registry.enter(fingerprint, &principal, 0));
        Scene {
            registry,
            domain_id,
            principal,
            fingerprint,
        }
    }

    fn principal_of(domain_id: DomainId) -> Arc<Principal> {
        Arc::new(Principal::new(
            domain_id,
            ClientId::new(),
            CredentialId::new(),
            Lease::unlimited(),
        ))
    }

    /// A place in a channel of this name.
    fn place<T>(channel: &str, ask: impl FnOnce(&Place) -> T) -> T {
        ask(&Place::parse(&format!("m/d/c/n{channel}"), Action::Publish).unwrap())
    }

    impl Scene {
        /// Remembers an answer about a channel.
        fn remember(&self, channel: &str, answer: &Result<Arc<Grant>, Denial>, is_current: bool) -> bool {
            let principal = &self.principal;
            place(channel, |place| {
                principal.remember(Action::Publish, place, answer, || is_current)
            })
        }

        /// Remembers a decision in favour of the client.
        fn grant(&self, channel: &str) -> Arc<Grant> {
            let grant = Arc::new(Grant::new(self.domain_id, ChannelId::new(), Lease::unlimited()));
            assert!(self.remember(channel, &Ok(Arc::clone(&grant)), true));
            grant
        }

        fn recall(&self, channel: &str) -> Option<Result<Arc<Grant>, Denial>> {
            place(channel, |place| self.principal.recall(Action::Publish, place))
        }

        fn is_granted(&self, channel: &str) -> bool {
            matches!(self.recall(channel), Some(Ok(_)))
        }

        fn touch(&self, ids: &[Uuid]) {
            self.registry.apply(self.domain_id, &Touched::Ids(ids.to_vec()));
        }
    }

    #[test]
    fn a_change_of_a_channel_withdraws_its_grants_and_no_others() {
        let scene = scene();
        let (one, other) = (scene.grant("one"), scene.grant("other"));
        scene.touch(&[one.channel_id().uuid()]);
        assert!(!scene.is_granted("one") && !one.holds());
        assert!(scene.is_granted("other") && other.holds());
        assert!(scene.principal.is_undisturbed());
    }

    #[test]
    fn a_change_of_a_client_withdraws_all_it_has_and_tells_its_sessions() {
        let scene = scene();
        let grant = scene.grant("one");
        let session = Session::new(Arc::clone(&scene.principal));
        let mut disturbances = session.disturbances();
        scene.touch(&[scene.principal.client_id().uuid()]);
        assert!(!grant.holds() && !session.is_undisturbed());
        let mut context = Context::from_waker(Waker::noop());
        assert!(pin!(disturbances.changed()).poll(&mut context).is_ready());
        assert!(scene.registry.recall(&scene.fingerprint).is_none());
    }

    #[test]
    fn a_change_of_another_domain_disturbs_nobody() {
        let scene = scene();
        let grant = scene.grant("one");
        scene.registry.apply(DomainId::new(), &Touched::All);
        assert!(grant.holds() && scene.is_granted("one"));
    }

    #[test]
    fn a_denial_is_forgotten_with_the_next_change_of_its_domain() {
        let scene = scene();
        let denial = Err(Denial::NotAuthorized);
        assert!(scene.remember("one", &denial, true));
        assert!(matches!(scene.recall("one"), Some(Err(Denial::NotAuthorized))));
        scene.touch(&[Uuid::max()]);
        assert!(scene.recall("one").is_none());
    }

    #[test]
    fn a_dependency_that_does_not_answer_is_not_remembered_as_a_denial() {
        let scene = scene();
        assert!(scene.remember("one", &Err(Denial::Unavailable), true));
        assert!(scene.recall("one").is_none());
    }

    #[test]
    fn a_decision_that_spans_a_change_is_not_remembered() {
        let scene = scene();
        let domain = scene.registry.domain(scene.domain_id);
        let before = domain.changes();
        scene.touch(&[Uuid::max()]);
        let grant = Arc::new(Grant::new(scene.domain_id, ChannelId::new(), Lease::unlimited()));
        let is_current = || domain.changes() == before;
        assert!(!scene.remember("one", &Ok(grant), is_current()));
        assert!(!scene.is_granted("one"));
        assert!(!scene.principal.reassure(is_current));
    }

    #[test]
    fn an_admission_that_spans_a_change_is_not_entered() {
        let scene = scene();
        let before = scene.registry.changes();
        scene.touch(&[]);
        let late = principal_of(scene.domain_id);
        assert!(!scene.registry.enter([7; 32], &late, before));
        assert!(scene.registry.recall(&[7; 32]).is_none());
    }

    #[test]
    fn what_subscriptions_live_by_is_not_forgotten_however_many_there_are_and_changes_reach_all_of_it() {
        let scene = scene();
        let used: Vec<_> = (0..3 * crate::limits::GRANTS_PER_CLIENT_MAX)
            .map(|number| scene.grant(&number.to_string()))
            .collect();
        assert!(used.iter().all(|grant| grant.holds()));
        for (number, grant) in used.iter().enumerate() {
            assert!(scene.is_granted(&number.to_string()));
            scene.touch(&[grant.channel_id().uuid()]);
            assert!(!grant.holds() && !scene.is_granted(&number.to_string()));
        }
    }

    #[test]
    fn what_was_decided_anew_holds_no_longer_as_it_was_before() {
        let scene = scene();
        let (before, after) = (scene.grant("one"), scene.grant("one"));
        assert!(!before.holds() && after.holds());
    }

    #[test]
    fn what_a_subscription_lives_by_is_not_forgotten_for_what_nobody_has_any_more() {
        let scene = scene();
        let subscribed = scene.grant("0");
        for number in 1..=2 * crate::limits::GRANTS_PER_CLIENT_MAX {
            scene.grant(&number.to_string());
        }
        assert!(subscribed.holds());
        assert!(!scene.is_granted("1"));
        let remembered = (0..=2 * crate::limits::GRANTS_PER_CLIENT_MAX).filter(|i| scene.is_granted(&i.to_string()));
        assert!(remembered.count() <= 1 + crate::limits::GRANTS_PER_CLIENT_MAX);
    }

    #[test]
    fn a_domain_is_forgotten_with_the_last_client_that_is_remembered_of_it() {
        let scene = scene();
        let grant = scene.grant("one");
        for i in 0..PRINCIPALS_MAX {
            let mut fingerprint = Fingerprint::default();
            fingerprint[..8].copy_from_slice(&i.to_be_bytes());
            assert!(scene.registry.enter(fingerprint, &principal_of(DomainId::new()), 0));
        }
        let domains: Vec<DomainId> = lock(&scene.registry.by_domain).keys().copied().collect();
        assert!(domains.len() <= 2, "{} domains", domains.len());
        assert!(scene.is_granted("one"));
        scene.touch(&[grant.channel_id().uuid()]);
        assert!(!grant.holds(), "who is in use still hears of changes");
    }

    #[test]
    fn equal_secrets_in_different_realms_are_different_credentials() {
        let registry = Registry::new();
        let secret = || Secret::new("s".to_owned());
        let by_client = registry.fingerprint(&Credentials::of_client("x", secret()));
        let by_domain = registry.fingerprint(&Credentials::of_domain("x", secret()));
        assert_ne!(by_client, by_domain);
    }

    #[test]
    fn no_secret_is_taken_for_a_certificate() {
        let registry = Registry::new();
        let client_id = ClientId::new();
        let certified = registry.fingerprint(&Credentials::of_certificate(client_id));
        let texts = [client_id.to_string(), String::new()];
        for (name, secret) in texts
            .iter()
            .flat_map(|name| texts.iter().map(move |secret| (name, secret)))
        {
            let shown = Credentials::of_client(name.clone(), Secret::new(secret.clone()));
            assert_ne!(registry.fingerprint(&shown), certified);
        }
    }
}
