//! The use cases that every registry has. Each tells `auth` first, since `auth` decides by it.

use std::marker::PhantomData;
use std::sync::Arc;

use tonic::Request;
use trunkline_core::error::reason;
use trunkline_core::{Clock, DomainId, Id as _, RequestId};
use trunkline_db::{Db, Total};
use trunkline_proto::auth::v1::auth_service_client::AuthServiceClient;
use trunkline_proto::auth::v1::{ExpandRequest, RegisterRequest, SetStatusRequest, UnregisterRequest};
use trunkline_rpc::guard::AUTH_SERVICE;
use trunkline_rpc::status::to_fault;
use trunkline_rpc::{Hub, Transport, Turns, UserCaller};

use crate::error::{Error, refusal};
use crate::event::{self, Kind, Origin, Place};
use crate::list::List;
use crate::object::{Object, Status};
use crate::{store, wire};

const READ: &str = "read";
/// Deletions that are finished in one go after a crash or an outage.
const DELETIONS_MAX: u32 = 100;

/// The objects of one kind.
pub struct Registry<O> {
    /// Their database.
    pub db: Db,
    /// The service that decides by them.
    pub auth: AuthServiceClient<Transport>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The same service for calls that wait until every live node has applied a change.
    revoking: AuthServiceClient<Transport>,
    turns: Turns,
    kind: PhantomData<fn() -> O>,
}

impl<O: Object> Registry<O> {
    /// Those in `db`; `peer` is the name under which `auth` is called.
    pub fn new(db: Db, hub: &Hub, peer: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self {
            db,
            auth: AuthServiceClient::new(hub.transport(AUTH_SERVICE, peer)),
            revoking: AuthServiceClient::new(hub.patient_transport(AUTH_SERVICE, peer)),
            clock,
            turns: Turns::default(),
            kind: PhantomData,
        }
    }

    /// Lets `auth` know of an object that is about to be created. What fails after that leaves a pending object there, which does no
    /// harm: nobody but its creator knows it, and the same call again goes on with it.
    ///
    /// # Errors
    /// What `auth` says.
    pub async fn register(&self, caller: &UserCaller, domain_id: DomainId, id: O::Id) -> Result<(), Error> {
        let request = RegisterRequest {
            entity: O::ENTITY as i32,
            id: id.to_string(),
            domain_id: domain_id.to_string(),
            parent_id: String::new(),
        };
        self.auth
            .clone()
            .register(caller.request(request))
            .await
            .map_err(refusal)?;
        Ok(())
    }

    /// Shows an object.
    ///
    /// # Errors
    /// NOT_FOUND, and those of the database, like everything here.
    pub async fn get(&self, domain_id: DomainId, id: O::Id) -> Result<O, Error> {
        let found = store::get::<O>(&self.db, domain_id, id).await;
        found
            .map_err(Error::database("reading", O::NOUNS))?
            .ok_or_else(|| Error::not_found(O::NOUN))
    }

    /// Lists the objects that the caller may read.
    ///
    /// # Errors
    /// What `auth` says; RESOURCE_EXHAUSTED for a caller with too many single grants.
    pub async fn list(&self, caller: &UserCaller, list: &List) -> Result<(Total, Vec<O>), Error> {
        let request = ExpandRequest {
            entity: O::ENTITY as i32,
            action: READ.to_owned(),
            domain_id: list.domain_id.to_string(),
        };
        let held = self
            .auth
            .clone()
            .expand(caller.request(request))
            .await
            .map_err(refusal)?
            .into_inner();
        let visible = wire::visible(&held)?;
        store::list::<O>(&self.db, list, &visible)
            .await
            .map_err(Error::database("listing", O::NOUNS))
    }

    /// Changes attributes of an object as `change` does, which says whether there was anything to change.
    ///
    /// # Errors
    /// NOT_FOUND; ABORTED when somebody else changed it meanwhile, again and again.
    pub async fn update(
        &self,
        caller: &UserCaller,
        domain_id: DomainId,
        id: O::Id,
        change: impl Fn(&mut O) -> bool + Send + Sync,
    ) -> Result<O, Error> {
        let origin = Origin::of(caller, self.clock.now());
        self.change(domain_id, id, origin, |object| change(object).then_some(Kind::Update))
            .await
    }

    /// Enables or disables an object. `auth` decides by it first, and answers a disabling when every live node has applied it, so that
    /// repeating the call after a failure waits again.
    ///
    /// # Errors
    /// What `auth` says, such as UNAVAILABLE with the reason `REVOCATION_PENDING`; NOT_FOUND.
    pub async fn set_status(
        &self,
        caller: &UserCaller,
        domain_id: DomainId,
        id: O::Id,
        status: Status,
    ) -> Result<O, Error> {
        // Of an enabling and a disabling at once, the later one decides here and in `auth` alike.
        let _turn = self.turns.take(id.uuid()).await;
        self.tell_status(caller, domain_id, id, status).await?;
        let origin = Origin::of(caller, self.clock.now());
        let kind = match status {
            Status::Enabled => Kind::Enable,
            Status::Disabled => Kind::Disable,
        };
        self.change(domain_id, id, origin, |object| {
            let is_changed = object.base().status != status;
            object.base_mut().status = status;
            is_changed.then_some(kind)
        })
        .await
    }

    /// Deletes an object with all that belongs to it.
    ///
    /// It is disabled first: that answers when every live node has applied it, and can be repeated. Only then is it hidden here and
    /// forgotten by `auth`, since from then on nobody may repeat the call: what a crash or an outage interrupts,
    /// [`Registry::finish_deletions`] ends.
    ///
    /// # Errors
    /// What `auth` says; NOT_FOUND.
    pub async fn delete(&self, caller: &UserCaller, domain_id: DomainId, id: O::Id) -> Result<(), Error> {
        let _turn = self.turns.take(id.uuid()).await;
        self.tell_status(caller, domain_id, id, Status::Disabled).await?;
        let now = self.clock.now();
        let is_marked = store::mark_deleted::<O>(&self.db, domain_id, id, caller.id, now).await;
        if !is_marked.map_err(Error::database("hiding", O::NOUNS))? {
            return Err(Error::not_found(O::NOUN));
        }
        let request = caller.request(unregister::<O>(domain_id, id));
        let unregistered = self.revoking.clone().unregister(request).await;
        // What is disabled everywhere needs no second confirmation.
        if let Err(status) = unregistered
            && to_fault(&status).reason != reason::REVOCATION_PENDING
        {
            return Err(refusal(status));
        }
        self.remove(domain_id, id, Some(caller.request_id)).await
    }

    /// Ends deletions that were interrupted, at most 100 of them. One that fails stays for the next time.
    ///
    /// # Errors
    /// Those of the database, when they cannot even be looked for.
    pub async fn finish_deletions(&self) -> Result<(), Error> {
        let waiting = store::marked_deleted::<O>(&self.db, DELETIONS_MAX).await;
        for (domain_id, id) in waiting.map_err(Error::database("looking for deleted", O::NOUNS))? {
            if let Err(error) = self.finish_deletion(domain_id, id).await {
                tracing::warn!(object.kind = O::NOUN, object.id = %id, %error, "an interrupted deletion cannot be finished yet");
            }
        }
        Ok(())
    }

    async fn finish_deletion(&self, domain_id: DomainId, id: O::Id) -> Result<(), Error> {
        let request = Request::new(unregister::<O>(domain_id, id));
        self.revoking.clone().unregister(request).await.map_err(refusal)?;
        self.remove(domain_id, id, None).await
    }

    async fn tell_status(
        &self,
        caller: &UserCaller,
        domain_id: DomainId,
        id: O::Id,
        status: Status,
    ) -> Result<(), Error> {
        let request = SetStatusRequest {
            entity: O::ENTITY as i32,
            id: id.to_string(),
            domain_id: domain_id.to_string(),
            enabled: status == Status::Enabled,
        };
        let request = caller.request(request);
        self.revoking.clone().set_status(request).await.map_err(refusal)?;
        Ok(())
    }

    /// Removes what is left of an object that `auth` has forgotten. Without effect where another call was faster.
    async fn remove(&self, domain_id: DomainId, id: O::Id, request_id: Option<RequestId>) -> Result<(), Error> {
        let time = self.clock.now();
        let removed = self.db.write(|tx| {
            Box::pin(async move {
                let Some(removed) = store::remove::<O>(tx, domain_id, id).await? else {
                    return Ok(());
                };
                let origin = Origin {
                    actor: removed.removed_by,
                    request_id,
                    time,
                };
                let place = Place {
                    domain_id,
                    id,
                    revision: removed.revision + 1,
                };
                event::append_delete::<O>(tx, place, origin).await
            })
        });
        removed.await.map_err(Error::database("removing", O::NOUNS))
    }

    /// Changes an object as `change` says, which also says what that is called; `None` leaves all as it was.
    async fn change(
        &self,
        domain_id: DomainId,
        id: O::Id,
        origin: Origin,
        change: impl Fn(&mut O) -> Option<Kind> + Send + Sync,
    ) -> Result<O, Error> {
        self.db
            .write(|tx| {
                Box::pin(async {
                    let found = store::find::<O>(tx, domain_id, id).await?;
                    let mut object = found.ok_or_else(|| Error::not_found(O::NOUN))?;
                    let Some(kind) = change(&mut object) else {
                        return Ok(object);
                    };
                    object.base_mut().touch(origin.actor, origin.time);
                    store::update(tx, &object).await?;
                    event::append(tx, kind, &object, origin).await?;
                    Ok(object)
                })
            })
            .await
    }
}

fn unregister<O: Object>(domain_id: DomainId, id: O::Id) -> UnregisterRequest {
    UnregisterRequest {
        entity: O::ENTITY as i32,
        id: id.to_string(),
        domain_id: domain_id.to_string(),
    }
}
