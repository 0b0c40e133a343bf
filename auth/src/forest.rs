//! The trees of all domains that were asked for lately, in memory, kept equal to the database by those who write to it.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};
use trunkline_core::DomainId;

use crate::error::Error;
use crate::store::{Store, StoredRole};
use crate::tree::{Role, Tree};

/// Domains that are held at once. One takes about 300 bytes for each client or channel in it.
pub(crate) const DOMAINS_MAX: usize = 4_096;

/// One domain's tree.
pub(crate) struct Grown {
    tree: RwLock<Tree>,
    turn: Arc<AsyncMutex<()>>,
}

impl Grown {
    /// The tree, to look at. Never held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the tree after a commit.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Tree)) {
        change(&mut self.tree.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One domain's tree and the turn to change it: held from before a commit until the tree has the change too, so that changes reach
/// the tree in the order of their commits.
pub(crate) struct Writing {
    grown: Arc<Grown>,
    _turn: OwnedMutexGuard<()>,
}

impl Deref for Writing {
    type Target = Grown;

    fn deref(&self) -> &Grown {
        &self.grown
    }
}

/// A domain's tree once it is loaded, and the one load that everybody waits for until then.
type Place = Arc<OnceCell<Arc<Grown>>>;

/// Every tree in memory.
pub(crate) struct Forest {
    store: Store,
    places: Mutex<HashMap<DomainId, Place>>,
}

impl Forest {
    /// A forest without trees; they are loaded when they are asked for.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            places: Mutex::default(),
        }
    }

    /// The tree of a domain. A domain that does not exist has a tree without objects.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn tree(&self, domain_id: DomainId) -> Result<Arc<Grown>, Error> {
        let place = self.place(domain_id);
        let grown = place.get_or_try_init(|| self.load(domain_id)).await?.clone();
        // Whoever asks for domains that do not exist may not push out those that do. A domain that is being made is held by its
        // maker, who loads it again afterwards.
        if grown.read().object(domain_id.uuid()).is_none() {
            self.forget(domain_id);
        }
        Ok(grown)
    }

    /// The tree of a domain that exists, and the turn to change it.
    ///
    /// # Errors
    /// NOT_FOUND, or that the database failed.
    pub(crate) async fn writing(&self, domain_id: DomainId) -> Result<Writing, Error> {
        loop {
            let grown = self.tree(domain_id).await?;
            let turn = grown.turn.clone().lock_owned().await;
            if grown.read().object(domain_id.uuid()).is_none() {
                return Err(Error::not_found("domain"));
            }
            // A tree that was dropped while we waited is nobody's any more; its successor is to be changed.
            if self.is_current(domain_id, &grown) {
                return Ok(Writing { grown, _turn: turn });
            }
        }
    }

    fn is_current(&self, domain_id: DomainId, grown: &Arc<Grown>) -> bool {
        let places = self.places();
        let current = places.get(&domain_id).and_then(|place| place.get());
        current.is_some_and(|current| Arc::ptr_eq(current, grown))
    }

    /// Drops a domain's tree: the next question reads it anew.
    pub(crate) fn forget(&self, domain_id: DomainId) {
        self.places().remove(&domain_id);
    }

    fn place(&self, domain_id: DomainId) -> Place {
        let mut places = self.places();
        if places.len() >= DOMAINS_MAX && !places.contains_key(&domain_id) {
            // Whoever changes a domain holds its tree, so only a tree that nobody holds may go.
            let idle = places.iter().find(|(_, place)| {
                Arc::strong_count(place) == 1 && place.get().is_some_and(|grown| Arc::strong_count(grown) == 1)
            });
            if let Some(id) = idle.map(|(id, _)| *id) {
                places.remove(&id);
            }
        }
        places.entry(domain_id).or_default().clone()
    }

    fn places(&self) -> MutexGuard<'_, HashMap<DomainId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, domain_id: DomainId) -> Result<Arc<Grown>, Error> {
        let (objects, roles) = self
            .store
            .tree(domain_id)
            .await
            .map_err(Error::database("loading a domain's tree"))?;
        let mut tree = Tree::new(domain_id.uuid());
        for object in objects {
            tree.put_object(object.id, object.entity, object.parent, object.status);
        }
        for role in roles {
            let (id, role) = role_of(role);
            tree.put_role(id, role);
        }
        Ok(Arc::new(Grown {
            tree: RwLock::new(tree),
            turn: Arc::default(),
        }))
    }
}

fn role_of(stored: StoredRole) -> (trunkline_core::RoleId, Role) {
    let actions: HashSet<_> = stored.actions.into_iter().collect();
    let members: HashSet<_> = stored.members.into_iter().collect();
    (
        stored.id,
        Role {
            entity_id: stored.entity_id,
            actions,
            members,
        },
    )
}
