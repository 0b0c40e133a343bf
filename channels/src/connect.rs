//! Use cases of connections: connecting, disconnecting, and what a client may do on a channel.

use tonic::Request;
use tonic::metadata::MetadataValue;
use trunkline_bus::Ref;
use trunkline_bus::revision::{RevokeError, Scope};
use trunkline_core::error::Code;
use trunkline_core::{ChannelId, ClientId, DomainId, Fault, RequestId};
use trunkline_proto::auth::v1::CheckObjectsRequest;
use trunkline_registry::{Error, Object as _, Origin, Place, refusal};
use trunkline_rpc::UserCaller;
use trunkline_rpc::caller::REQUEST_ID;
use uuid::Uuid;

use crate::channel::Channel;
use crate::connection::{Connections, Kind};
use crate::error::not_connected;
use crate::event;
use crate::service::Service;
use crate::store::{self, Reachable, Revocation};

/// A call that disconnects has announced it by then, or never will.
const REVOCATION_OVERDUE_S: i64 = 60;
/// Disconnections that are announced in one go.
const REVOCATIONS_MAX: u32 = 100;

/// May this client do that on this channel?
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) domain_id: DomainId,
    pub(crate) client_id: ClientId,
    pub(crate) channel: Ref<ChannelId>,
    pub(crate) kind: Kind,
}

impl Service {
    /// Connects each of the clients to each of the channels, all of them or none. What is connected already stays so.
    ///
    /// All of them must be enabled; only `auth` knows that of clients.
    pub(crate) async fn connect(&self, caller: &UserCaller, connections: &Connections) -> Result<(), Error> {
        let channels = connections.channels().map(ChannelId::uuid);
        let ends: Vec<Uuid> = channels.chain(connections.clients().map(ClientId::uuid)).collect();
        let enabled = self
            .check_enabled(connections.domain_id(), &ends, caller.request_id)
            .await;
        enabled.map_err(as_precondition)?;

        let origin = Origin::of(caller, self.channels.clock.now());
        let stored = self.channels.db.write(|tx| {
            Box::pin(async {
                let present = store::present(tx, connections).await?;
                if present.len() < connections.channels().len() {
                    return Err(Error::not_found(Channel::NOUN));
                }
                for (id, revision) in present {
                    if store::connect(tx, connections, id, origin.time).await? {
                        let place = Place {
                            domain_id: connections.domain_id(),
                            id,
                            revision,
                        };
                        event::append(tx, event::CONNECT, place, connections, origin).await?;
                    }
                }
                Ok(())
            })
        });
        stored.await?;
        // Nobody waits for a grant: where this news is lost, a remembered denial ends by itself a second later.
        let scope = Scope::Domain(connections.domain_id());
        if let Err(error) = self.revisions.grant(scope, &connections.touched()).await {
            tracing::warn!(domain.id = %connections.domain_id(), %error, "a connection could not be announced");
        }
        Ok(())
    }

    /// Takes connections away and answers when no live node acts by them any more. Repeating the call after a failure waits again,
    /// also where nothing is left to take away.
    pub(crate) async fn disconnect(&self, caller: &UserCaller, connections: &Connections) -> Result<(), Error> {
        let origin = Origin::of(caller, self.channels.clock.now());
        let revocation = Revocation {
            domain_id: connections.domain_id(),
            id: Uuid::now_v7(),
            touched: connections.touched(),
        };
        let stored = self.channels.db.write(|tx| {
            Box::pin(async {
                for (id, revision) in store::present(tx, connections).await? {
                    if store::disconnect(tx, connections, id).await? {
                        let place = Place {
                            domain_id: connections.domain_id(),
                            id,
                            revision,
                        };
                        event::append(tx, event::DISCONNECT, place, connections, origin).await?;
                    }
                }
                store::insert_revocation(tx, &revocation, origin.time).await
            })
        });
        stored.await.map_err(Error::database("disconnecting", "clients"))?;

        let revoked = self
            .revisions
            .revoke(Scope::Domain(revocation.domain_id), &revocation.touched)
            .await;
        // What could not even be announced is left to the background work, and so is a call that is cut off before this.
        if !matches!(revoked, Err(RevokeError::State(_)))
            && let Err(error) = store::remove_revocation(&self.channels.db, &revocation).await
        {
            tracing::warn!(domain.id = %revocation.domain_id, %error, "a disconnection will be announced once more");
        }
        match revoked {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(domain.id = %revocation.domain_id, %error, "a disconnection is not confirmed yet");
                Err(Error::Refused(error.fault()))
            }
        }
    }

    /// Announces disconnections whose call did not come that far, at most [`REVOCATIONS_MAX`] of them.
    pub(crate) async fn finish_disconnections(&self) -> Result<(), Error> {
        let before = self.channels.clock.now().plus_seconds(-REVOCATION_OVERDUE_S);
        let overdue = store::revocations(&self.channels.db, before, REVOCATIONS_MAX).await;
        for revocation in overdue.map_err(Error::database("looking for", "revocations"))? {
            match self
                .revisions
                .grant(Scope::Domain(revocation.domain_id), &revocation.touched)
                .await
            {
                Ok(_) => {
                    let removed = store::remove_revocation(&self.channels.db, &revocation).await;
                    removed.map_err(Error::database("removing", "revocations"))?;
                }
                Err(error) => {
                    tracing::warn!(domain.id = %revocation.domain_id, %error, "a disconnection cannot be announced yet");
                }
            }
        }
        Ok(())
    }

    /// Decides whether a client may do something on a channel. A channel that is not there is refused in the same words, after the
    /// same work, as one that the client is not connected to; that something is disabled is told to connected clients only.
    pub(crate) async fn authorize(&self, question: &Question, request_id: RequestId) -> Result<Reachable, Error> {
        let Question {
            domain_id,
            client_id,
            channel,
            kind,
        } = *question;
        let found = store::reach(&self.channels.db, domain_id, channel, client_id, kind).await;
        let channel = found
            .map_err(Error::database("looking for", "connections"))?
            .ok_or_else(not_connected)?;
        let ends = [client_id.uuid(), channel.id.uuid()];
        match self.check_enabled(domain_id, &ends, request_id).await {
            Ok(()) => Ok(channel),
            Err(Error::Refused(Fault {
                code: Code::NotFound, ..
            })) => Err(not_connected()),
            Err(error) => Err(error),
        }
    }

    async fn check_enabled(&self, domain_id: DomainId, ids: &[Uuid], request_id: RequestId) -> Result<(), Error> {
        let mut request = Request::new(CheckObjectsRequest {
            domain_id: domain_id.to_string(),
            objects: ids.iter().map(Uuid::to_string).collect(),
        });
        if let Ok(value) = MetadataValue::try_from(request_id.to_string()) {
            request.metadata_mut().insert(REQUEST_ID, value);
        }
        self.channels
            .auth
            .clone()
            .check_objects(request)
            .await
            .map_err(refusal)?;
        Ok(())
    }
}

/// That something is disabled denies a client what it asks for; to a user who connects, it is a state to be changed first.
fn as_precondition(error: Error) -> Error {
    match error {
        Error::Refused(fault) if fault.code == Code::PermissionDenied => Error::Refused(Fault {
            code: Code::FailedPrecondition,
            ..fault
        }),
        other => other,
    }
}
