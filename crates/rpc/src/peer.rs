//! The peer: the process that calls. In process the transport stamps it; between processes a signed token proves it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_core::digest::DigestKey;
use trunkline_core::{Clock, Timestamp};

/// Header that carries a service token between processes.
pub const PEER_TOKEN: &str = "x-trunkline-peer";
/// Reason of the refusal of a call whose token proves no peer.
pub(crate) const PEER_UNKNOWN: &str = "PEER_UNKNOWN";
/// Seconds that a service token is valid for. It is made anew for every call, so this bounds clocks that disagree.
const TOKEN_VALID_S: i64 = 60;

/// The service that calls, such as `things`. Only transports inside the platform put it into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(pub Arc<str>);

/// The key with which the processes of one platform prove themselves to each other.
#[derive(Clone)]
pub struct ServiceKey(DigestKey);

impl ServiceKey {
    /// Takes the key that all processes of the platform share.
    pub const fn new(key: DigestKey) -> Self {
        Self(key)
    }

    /// A token that says `peer` and lapses a minute from now: `<name>.<expiry in s>.<mac>`.
    pub fn token(&self, peer: &Peer, clock: &dyn Clock) -> String {
        let expires_s = clock.now().plus_seconds(TOKEN_VALID_S).seconds();
        let mac = URL_SAFE_NO_PAD.encode(self.0.digest(&[peer.0.as_bytes(), &expires_s.to_be_bytes()]));
        format!("{}.{expires_s}.{mac}", peer.0)
    }

    /// The peer that a token proves; `None` for one that is forged, malformed or lapsed.
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Peer> {
        let mut parts = token.splitn(3, '.');
        let (name, expires, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let expires_s: i64 = expires.parse().ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let is_genuine = self.0.verify(&[name.as_bytes(), &expires_s.to_be_bytes()], &mac);
        let is_current = now.seconds() < expires_s && expires_s <= now.seconds() + 2 * TOKEN_VALID_S;
        (is_genuine && is_current).then(|| Peer(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_core::time::ManualClock;

    #[test]
    fn a_service_token_proves_its_peer_until_it_lapses() {
        let (key, clock) = (ServiceKey::new(DigestKey::new([1; 32])), ManualClock::at(0));
        let token = key.token(&Peer("things".into()), &clock);
        assert_eq!(key.verify(&token, clock.now()), Some(Peer("things".into())));
        assert_eq!(key.verify(&token.replace("things", "gate"), clock.now()), None);
        assert_eq!(
            ServiceKey::new(DigestKey::new([2; 32])).verify(&token, clock.now()),
            None
        );
        clock.advance_seconds(TOKEN_VALID_S);
        assert_eq!(key.verify(&token, clock.now()), None);
    }
}
