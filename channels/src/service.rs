//! The use cases, one method each, caller first. Product decisions of this service live here.

use std::sync::Arc;

use tonic::Request;
use trunkline_bus::revision::Revisions;
use trunkline_core::error::{Code, reason};
use trunkline_core::{ChannelId, Clock, DomainId, RequestId, Timestamp};
use trunkline_db::{Db, Total};
use trunkline_proto::auth::v1::auth_service_client::AuthServiceClient;
use trunkline_proto::auth::v1::{ExpandRequest, RegisterRequest, SetStatusRequest, UnregisterRequest};
use trunkline_proto::guard::Entity;
use trunkline_rpc::status::to_fault;
use trunkline_rpc::{Transport, Turns, UserCaller};

use crate::channel::{Changes, Channel, NewChannel, Status};
use crate::convert;
use crate::error::{Error, refusal};
use crate::event::{self, Kind, Object, Origin};
use crate::list::List;
use crate::store::{self, constraint};

const ENTITY: i32 = Entity::Channel as i32;
const READ: &str = "read";
/// Deletions that are finished in one go after a crash or an outage.
const DELETIONS_MAX: u32 = 100;

/// The use cases.
pub(crate) struct Service {
    pub(crate) db: Db,
    pub(crate) auth: AuthServiceClient<Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) turns: Turns,
    pub(crate) revisions: Revisions,
}

impl Service {
    /// Creates a channel. `auth` learns of it first; what fails after that leaves a pending object
    /// there, which does no harm: nobody but its creator knows it, and the same call again goes on with it.
    pub(crate) async fn create(&self, caller: &UserCaller, new: &NewChannel) -> Result<Channel, Error> {
        let request = RegisterRequest {
            entity: ENTITY,
            id: new.id.to_string(),
            domain_id: new.domain_id.to_string(),
            parent_id: String::new(),
        };
        self.auth
            .clone()
            .register(caller.request(request))
            .await
            .map_err(refusal)?;

        let now = self.clock.now();
        let channel = new.created(caller.id, now);
        let origin = origin(caller, now);
        let stored = self.db.write(|tx| {
            Box::pin(async {
                store::insert(tx, &channel).await?;
                event::append(tx, Kind::Create, &channel, origin).await
            })
        });
        stored.await.map_err(taken)?;
        Ok(channel)
    }

    /// Shows a channel.
    pub(crate) async fn get(&self, domain_id: DomainId, id: ChannelId) -> Result<Channel, Error> {
        let found = store::get(&self.db, domain_id, id)
            .await
            .map_err(Error::database("reading a channel"))?;
        found.ok_or_else(Error::not_found)
    }

    /// Lists the channels that the caller may read.
    pub(crate) async fn list(&self, caller: &UserCaller, list: &List) -> Result<(Total, Vec<Channel>), Error> {
        let request = ExpandRequest {
            entity: ENTITY,
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
        let visible = convert::visible(&held)?;
        store::list(&self.db, list, &visible)
            .await
            .map_err(Error::database("listing channels"))
    }

    /// Changes a channel; nothing, when `changes` is empty.
    pub(crate) async fn update(
        &self,
        caller: &UserCaller,
        domain_id: DomainId,
        id: ChannelId,
        changes: &Changes,
    ) -> Result<Channel, Error> {
        if changes.is_empty() {
            return self.get(domain_id, id).await;
        }
        let origin = origin(caller, self.clock.now());
        self.change(domain_id, id, origin, |channel| {
            changes.apply(channel);
            Some(Kind::Update)
        })
        .await
    }

    /// Enables or disables a channel. `auth` decides by it first, and answers a disabling when every live node has applied it, so
    /// that repeating the call after a failure waits again.
    pub(crate) async fn set_status(
        &self,
        caller: &UserCaller,
        domain_id: DomainId,
        id: ChannelId,
        status: Status,
    ) -> Result<Channel, Error> {
        let request = SetStatusRequest {
            entity: ENTITY,
            id: id.to_string(),
            domain_id: domain_id.to_string(),
            enabled: status == Status::Enabled,
        };
        // Of an enabling and a disabling at once, the later one decides here and in `auth` alike.
        let _turn = self.turns.take(id.uuid()).await;
        self.auth
            .clone()
            .set_status(caller.request(request))
            .await
            .map_err(refusal)?;
        let origin = origin(caller, self.clock.now());
        let kind = match status {
            Status::Enabled => Kind::Enable,
            Status::Disabled => Kind::Disable,
        };
        self.change(domain_id, id, origin, |channel| {
            let is_changed = channel.status != status;
            channel.status = status;
            is_changed.then_some(kind)
        })
        .await
    }

    /// Deletes a channel with its connections.
    ///
    /// It is disabled first: that answers when every live node has applied it, and can be repeated. Only then is it hidden here and
    /// forgotten by `auth`, since from then on nobody may repeat the call: what a crash or an outage interrupts,
    /// [`Service::finish_deletions`] ends.
    pub(crate) async fn delete(&self, caller: &UserCaller, domain_id: DomainId, id: ChannelId) -> Result<(), Error> {
        let disable = SetStatusRequest {
            entity: ENTITY,
            id: id.to_string(),
            domain_id: domain_id.to_string(),
            enabled: false,
        };
        let _turn = self.turns.take(id.uuid()).await;
        self.auth
            .clone()
            .set_status(caller.request(disable))
            .await
            .map_err(refusal)?;
        let now = self.clock.now();
        let is_marked = store::mark_deleted(&self.db, domain_id, id, caller.id, now).await;
        if !is_marked.map_err(Error::database("hiding a channel"))? {
            return Err(Error::not_found());
        }
        let request = caller.request(unregister(domain_id, id));
        let unregistered = self.auth.clone().unregister(request).await;
        // What is disabled everywhere needs no second confirmation.
        if let Err(status) = unregistered
            && to_fault(&status).reason != reason::REVOCATION_PENDING
        {
            return Err(refusal(status));
        }
        self.remove(domain_id, id, Some(caller.request_id)).await
    }

    /// Ends deletions that were interrupted, at most [`DELETIONS_MAX`] of them. One that fails stays for the next time.
    pub(crate) async fn finish_deletions(&self) -> Result<(), Error> {
        let waiting = store::marked_deleted(&self.db, DELETIONS_MAX).await;
        for (domain_id, id) in waiting.map_err(Error::database("looking for deleted channels"))? {
            if let Err(error) = self.finish_deletion(domain_id, id).await {
                tracing::warn!(channel.id = %id, %error, "an interrupted deletion cannot be finished yet");
            }
        }
        Ok(())
    }

    async fn finish_deletion(&self, domain_id: DomainId, id: ChannelId) -> Result<(), Error> {
        let request = Request::new(unregister(domain_id, id));
        self.auth.clone().unregister(request).await.map_err(refusal)?;
        self.remove(domain_id, id, None).await
    }

    /// Removes what is left of a channel that `auth` has forgotten. Without effect where another call was faster.
    async fn remove(&self, domain_id: DomainId, id: ChannelId, request_id: Option<RequestId>) -> Result<(), Error> {
        let time = self.clock.now();
        let removed = self.db.write(|tx| {
            Box::pin(async move {
                let Some(removed) = store::remove(tx, domain_id, id).await? else {
                    return Ok(());
                };
                let origin = Origin {
                    actor: removed.removed_by,
                    request_id,
                    time,
                };
                let object = Object {
                    domain_id,
                    id,
                    revision: removed.revision + 1,
                };
                event::append_delete(tx, object, origin).await
            })
        });
        removed.await.map_err(Error::database("removing a channel"))
    }

    /// Changes a channel as `change` says, which also says what that is called; `None` leaves all as it was.
    async fn change(
        &self,
        domain_id: DomainId,
        id: ChannelId,
        origin: Origin,
        change: impl Fn(&mut Channel) -> Option<Kind> + Send + Sync,
    ) -> Result<Channel, Error> {
        self.db
            .write(|tx| {
                Box::pin(async {
                    let mut channel = store::find(tx, domain_id, id).await?.ok_or_else(Error::not_found)?;
                    let Some(kind) = change(&mut channel) else {
                        return Ok(channel);
                    };
                    channel.updated_at = origin.time;
                    channel.updated_by = origin.actor;
                    channel.revision += 1;
                    store::update(tx, &channel).await?;
                    event::append(tx, kind, &channel, origin).await?;
                    Ok(channel)
                })
            })
            .await
    }
}

pub(crate) fn origin(caller: &UserCaller, time: Timestamp) -> Origin {
    Origin {
        actor: Some(caller.id),
        request_id: Some(caller.request_id),
        time,
    }
}

fn unregister(domain_id: DomainId, id: ChannelId) -> UnregisterRequest {
    UnregisterRequest {
        entity: ENTITY,
        id: id.to_string(),
        domain_id: domain_id.to_string(),
    }
}

/// Which part of a new channel is in use already.
fn taken(error: trunkline_db::Error) -> Error {
    use crate::error::reasons::{ID_TAKEN, ROUTE_TAKEN};

    if error.is_conflict(constraint::ROUTE) {
        return Error::refused(
            Code::AlreadyExists,
            ROUTE_TAKEN,
            "another channel of the domain has this route",
        );
    }
    if error.is_conflict(constraint::ID) || error.is_conflict(constraint::ID_ANYWHERE) {
        return Error::refused(Code::AlreadyExists, ID_TAKEN, "the id is in use");
    }
    Error::database("creating a channel")(error)
}
