//! Access tokens: JWTs signed with Ed25519 (RFC 8037), with the claims of magistrala.md 4.1.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use trunkline_core::error::{Code, reason};
use trunkline_core::{Secret, Timestamp, UserId};
use uuid::Uuid;

use crate::error::{Error, reasons};
use crate::user::PlatformRole;

/// Life of an access token in seconds.
pub const ACCESS_TOKEN_S: i64 = 3_600;
/// Seconds by which the clocks of platform and caller may differ.
const LEEWAY_S: i64 = 30;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Who issues.
const ISSUER: &str = "trunkline.auth";
/// The claim `type` of an access token.
const TYPE_ACCESS: u8 = 0;

/// The claims of a token.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
    exp: i64,
    sub: String,
    jti: String,
    #[serde(rename = "type")]
    kind: u8,
    role: u8,
    verified: bool,
}

/// Signs and verifies access tokens under one key.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    header: Header,
}

impl Tokens {
    /// Takes the 32 bytes of an Ed25519 private key. The key id is made from the public key.
    ///
    /// # Errors
    /// When the key cannot be encoded for the JWT library.
    pub(crate) fn new(private_key: &[u8; 32]) -> Result<Self, Error> {
        let key = SigningKey::from_bytes(private_key);
        let der = key.to_pkcs8_der().map_err(|error| Error::Crypto(error.to_string()))?;
        let public = key.verifying_key();
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Time is checked below, against the platform's clock.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "sub", "exp"]);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(
            public.as_bytes()[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        );
        Ok(Self {
            encoding: EncodingKey::from_ed_der(der.as_bytes()),
            decoding: DecodingKey::from_ed_der(public.as_bytes()),
            validation,
            header,
        })
    }

    /// An access token for `user`, valid for [`ACCESS_TOKEN_S`] from `now`.
    ///
    /// # Errors
    /// When signing fails.
    pub(crate) fn issue(
        &self,
        user: UserId,
        role: PlatformRole,
        is_verified: bool,
        now: Timestamp,
    ) -> Result<Secret, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            iat: now.seconds(),
            exp: now.seconds() + ACCESS_TOKEN_S,
            sub: user.to_string(),
            jti: Uuid::now_v7().to_string(),
            kind: TYPE_ACCESS,
            role: match role {
                PlatformRole::User => 1,
                PlatformRole::Admin => 2,
            },
            verified: is_verified,
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.encoding);
        token.map(Secret::new).map_err(|error| Error::Crypto(error.to_string()))
    }

    /// The user that a token is for. Whether he may log in now is not the token's to say.
    ///
    /// # Errors
    /// UNAUTHENTICATED: one message for every token that is not genuine, another for one that has lapsed.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<UserId, Error> {
        let invalid = || {
            Error::refused(
                Code::Unauthenticated,
                reason::CREDENTIALS_INVALID,
                "the token is not valid; log in again",
            )
        };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|_| invalid())?;
        let claims = decoded.claims;
        if claims.kind != TYPE_ACCESS || claims.iat > now.seconds() + LEEWAY_S {
            return Err(invalid());
        }
        if claims.exp + LEEWAY_S <= now.seconds() {
            return Err(Error::refused(
                Code::Unauthenticated,
                reasons::TOKEN_EXPIRED,
                "the token has lapsed; log in again",
            ));
        }
        claims.sub.parse().map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn reason_of(result: Result<UserId, Error>) -> String {
        result.unwrap_err().fault().reason.into_owned()
    }

    #[test]
    fn a_token_is_good_for_an_hour_and_no_longer() {
        let tokens = Tokens::new(&[7; 32]).unwrap();
        let user = UserId::new();
        let token = tokens.issue(user, PlatformRole::User, true, NOON).unwrap();
        assert_eq!(
            tokens
                .verify(token.expose(), NOON.plus_seconds(ACCESS_TOKEN_S - 1))
                .unwrap(),
            user
        );
        let late = NOON.plus_seconds(ACCESS_TOKEN_S + LEEWAY_S);
        assert_eq!(reason_of(tokens.verify(token.expose(), late)), reasons::TOKEN_EXPIRED);
    }

    #[test]
    fn a_token_of_another_key_or_algorithm_is_not_genuine() {
        let (ours, theirs) = (Tokens::new(&[7; 32]).unwrap(), Tokens::new(&[8; 32]).unwrap());
        let token = theirs.issue(UserId::new(), PlatformRole::Admin, true, NOON).unwrap();
        assert_eq!(
            reason_of(ours.verify(token.expose(), NOON)),
            reason::CREDENTIALS_INVALID
        );
        // {"alg":"none"} . {"sub":…} . no signature
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIwMTkzYzAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDAifQ.";
        for bad in [unsigned, "", "a.b.c", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(
                reason_of(ours.verify(bad, NOON)),
                reason::CREDENTIALS_INVALID,
                "{bad:.40}"
            );
        }
    }

    #[test]
    fn a_changed_token_is_not_genuine() {
        let tokens = Tokens::new(&[7; 32]).unwrap();
        let token = tokens.issue(UserId::new(), PlatformRole::User, true, NOON).unwrap();
        let middle = token.expose().find('.').unwrap() + 5;
        let mut bytes = token.expose().as_bytes().to_vec();
        bytes[middle] ^= 1;
        assert!(tokens.verify(&String::from_utf8_lossy(&bytes), NOON).is_err());
    }
}
