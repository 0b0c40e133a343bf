//! Which client a certificate names: the one whose id is in its subject alternative name, as the URI `urn:uuid:<client id>`.
//!
//! A URI, since DNS names are for hosts and common names are for people; `urn:uuid:`, since ids are UUIDs and that is how RFC 9562 writes
//! one. That the certificate is of the authority of the configuration was verified in the handshake.
//!
//! **Invariant:** a certificate takes the place of a secret and of nothing else: whether the client is there and enabled is asked
//! as ever, and who shows a secret as well must have the right one.

use std::io::{Error, ErrorKind, Result};

use tokio_rustls::rustls::pki_types::CertificateDer;
use trunkline_core::ClientId;
use trunkline_gate::{Credentials, Realm, Refusal};
use webpki::EndEntityCert;

/// How a name of a client begins.
const PREFIX: &str = "urn:uuid:";

/// A client that its certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Certified(ClientId);

impl Certified {
    /// The client that a certificate names; `None` if it names none.
    ///
    /// # Errors
    /// It names more than one, or what is no id.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Option<Self>> {
        let certificate = EndEntityCert::try_from(certificate).map_err(Error::other)?;
        let names = certificate.valid_uri_names().map(str::to_ascii_lowercase);
        let mut ids = names.filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned));
        let Some(id) = ids.next() else { return Ok(None) };
        let unclear = || Error::new(ErrorKind::InvalidData, "its certificate does not name one client");
        match (id.parse(), ids.next()) {
            (Ok(client_id), None) => Ok(Some(Self(client_id))),
            _ => Err(unclear()),
        }
    }

    /// What is to be checked of a client that shows this besides.
    ///
    /// # Errors
    /// It says to be somebody else.
    pub(crate) fn joined(self, shown: Credentials) -> std::result::Result<Credentials, Refusal> {
        let is_named = match &shown.realm {
            Realm::Client(name) => name.is_empty() || name.parse() == Ok(self.0),
            Realm::Domain(_) | Realm::Certificate(_) => false,
        };
        if !is_named {
            return Err(Refusal::BadCredentials);
        }
        Ok(match shown.secret.expose().is_empty() {
            true => Credentials::of_certificate(self.0),
            false => Credentials::of_client(self.0.to_string(), shown.secret),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use trunkline_core::Secret;
    use trunkline_testkit::Authority;

    use super::*;

    const ID: &str = "0190c4de-7e5a-7cc1-8f00-000000000001";
    const OTHER: &str = "0190c4de-7e5a-7cc1-8f00-000000000002";

    fn certified() -> Certified {
        Certified(ID.parse().unwrap())
    }

    #[test]
    fn a_certificate_names_the_one_client_of_its_uri_and_no_other_way() {
        let authority = Authority::new();
        let named = |names: &str| {
            let issued = authority.issue("device", names);
            let certificate = CertificateDer::from_pem_file(issued.certificate).unwrap();
            Certified::of(&certificate)
        };
        assert_eq!(named(&format!("URI:urn:uuid:{ID}")).unwrap(), Some(certified()));
        let upper = ID.to_uppercase();
        assert_eq!(
            named(&format!("DNS:a,URI:URN:UUID:{upper}")).unwrap(),
            Some(certified())
        );
        assert_eq!(named(&format!("DNS:{ID},URI:https://a.example/{ID}")).unwrap(), None);
        assert!(named(&format!("URI:urn:uuid:{ID},URI:urn:uuid:{OTHER}")).is_err());
        assert!(named("URI:urn:uuid:thermometer").is_err());
        assert!(named(&format!("URI:urn:uuid:{ID}x")).is_err());
    }

    #[test]
    fn a_certificate_stands_for_a_secret_that_is_not_shown_and_for_no_other_client() {
        let joined = |name: &str, secret: &str| {
            let shown = Credentials::of_client(name, Secret::new(secret.to_owned()));
            certified().joined(shown)
        };
        let certificate = Ok(Credentials::of_certificate(certified().0));
        assert_eq!(joined("", ""), certificate);
        assert_eq!(joined(ID, ""), certificate);
        let by_secret = Credentials::of_client(ID, Secret::new("secret".to_owned()));
        assert_eq!(joined(ID, "secret"), Ok(by_secret.clone()));
        assert_eq!(joined("", "secret"), Ok(by_secret));
        assert_eq!(joined(OTHER, ""), Err(Refusal::BadCredentials));
        assert_eq!(joined(OTHER, "secret"), Err(Refusal::BadCredentials));
        assert_eq!(joined("thermometer", ""), Err(Refusal::BadCredentials));
    }
}
