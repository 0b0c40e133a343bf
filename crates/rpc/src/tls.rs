//! TLS between the platform's processes: both ends show a certificate of the platform's own authority.
//!
//! It protects what is said and keeps strangers out; which process calls is still proven by a service token in each call.

use std::io;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The protocol inside: HTTP/2 and nothing else (RFC 9113 section 3.3).
const ALPN: &[u8] = b"h2";
/// The port of `https://` addresses that name none.
const PORT_DEFAULT: u16 = 443;

/// Why TLS cannot be used: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub(crate) String);

/// One process's side of TLS, whether it calls or is called. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    /// Takes the certificates (PEM) of the authority that every process is verified with, this process's own, and its private key.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(authority: &Path, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(|error| unusable(authority, &error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
        let provider = Arc::new(default_provider());

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let verifier = verifier.map_err(|error| unusable(authority, &error))?;
        let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let server = server.map_err(|error| unusable(certificate, &error))?;
        let server = server.with_client_cert_verifier(verifier);
        let mut server = server
            .with_single_cert(chain.clone(), private.clone_key())
            .map_err(|error| unusable(certificate, &error))?;
        server.alpn_protocols = vec![ALPN.to_vec()];

        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let client = client.map_err(|error| unusable(certificate, &error))?;
        let mut client = client
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private)
            .map_err(|error| unusable(certificate, &error))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Connects to the process at `place` and verifies that it is the one that the address names.
    pub(crate) async fn connect(self, place: Uri) -> io::Result<TokioIo<client::TlsStream<TcpStream>>> {
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "the address names no host");
        let host = place.host().ok_or_else(nameless)?.trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), place.port_u16().unwrap_or(PORT_DEFAULT))).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await.map(TokioIo::new)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| unusable(file, &error))?
        .collect();
    let found = found.map_err(|error| unusable(file, &error))?;
    if found.is_empty() {
        return Err(unusable(file, &"it holds no certificate"));
    }
    Ok(found)
}

pub(crate) fn unusable(file: &Path, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError(format!("{} cannot be used for TLS: {cause}", file.display()))
}
