//! TLS for those who come from outside: a certificate of the platform, and where asked for one of theirs.
//!
//! The files are looked at again while the platform runs, so that a certificate is renewed by replacing its file.
//!
//! **Invariants:** what cannot be used replaces nothing; a handshake takes no more than [`HANDSHAKE_BYTES_MAX`] from a stranger; who
//! has to show a certificate shows it on every connection, since none is resumed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::{Ticketer, default_provider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tls::{TlsError, unusable};

/// Bytes that a peer may send before its handshake is complete: certificates of a few levels, and no more than a stranger may
/// make the platform hold. With the 4 KiB that rustls makes room for at a time they fit into 32 KiB, beyond which its buffer is doubled.
pub const HANDSHAKE_BYTES_MAX: usize = 28 * 1024;
/// Time between two looks at the files.
pub const RELOAD_PAUSE: Duration = Duration::from_secs(10);

/// The files (PEM) that a listener speaks TLS with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The listener's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates of the authority that clients must have a certificate of; without it none is asked for.
    pub client_authority: Option<PathBuf>,
    /// What becomes of a client without a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Revocation lists of that authority, one for each certificate that issues others. One that has lapsed admits nobody.
    pub client_revocations: Option<PathBuf>,
}

/// What becomes of a client without a certificate of the `client_authority`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Its handshake fails. The default.
    #[default]
    Required,
    /// It may come without one. One of another authority is refused still.
    Optional,
}

/// A listener's side of TLS 1.2 and 1.3.
pub struct ServerTls {
    files: TlsFiles,
    alpn: Vec<Vec<u8>>,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// What the files were when they were last looked at, usable or not.
    seen: u64,
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Option<Vec<u8>>,
    revocations: Option<Vec<u8>>,
}

impl ServerTls {
    /// Reads the files. A peer that names protocols must name one of `alpn`.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(files: TlsFiles, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        if files.client_revocations.is_some() && files.client_authority.is_none() {
            let fault = "`client_revocations` is there without a `client_authority` that the lists are of";
            return Err(TlsError(fault.to_owned()));
        }
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
        let contents = files.read()?;
        let acceptor = TlsAcceptor::from(Arc::new(files.server(&contents, &alpn)?));
        let seen = contents.fingerprint();
        Ok(Self {
            files,
            alpn,
            current: Mutex::new(Current { acceptor, seen }),
        })
    }

    /// Takes the handshake of a peer. To be called with a time limit; cancelled, it leaves nothing but the loss of the connection.
    ///
    /// # Errors
    /// What the peer did wrong.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<Budgeted<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.lock().acceptor.clone();
        let stream = Budgeted {
            stream,
            left: Some(HANDSHAKE_BYTES_MAX),
        };
        let mut stream = acceptor.accept(stream).await?;
        stream.get_mut().0.left = None;
        Ok(stream)
    }

    /// Takes the files again every [`RELOAD_PAUSE`] until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(RELOAD_PAUSE))
            .await
            .is_some()
        {
            let tls = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
            let certificate = self.files.certificate.display();
            match reloaded {
                Ok(Ok(true)) => tracing::info!(%certificate, "TLS goes on with the files that were replaced"),
                Ok(Err(error)) => tracing::warn!(%error, "TLS goes on with the files from before"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// Takes the files again if they are others than before; says whether they were.
    ///
    /// # Errors
    /// Names the file that cannot be used, once: what was there before goes on.
    pub fn reload(&self) -> Result<bool, TlsError> {
        // Missing for a moment is how a file is replaced.
        let Ok(contents) = self.files.read() else {
            return Ok(false);
        };
        let fingerprint = contents.fingerprint();
        if std::mem::replace(&mut self.lock().seen, fingerprint) == fingerprint {
            return Ok(false);
        }
        let server = self.files.server(&contents, &self.alpn)?;
        self.lock().acceptor = TlsAcceptor::from(Arc::new(server));
        Ok(true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |file: &Path| std::fs::read(file).map_err(|error| unusable(file, &error));
        let read_if = |file: &Option<PathBuf>| file.as_deref().map(read).transpose();
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            authority: read_if(&self.client_authority)?,
            revocations: read_if(&self.client_revocations)?,
        })
    }

    fn server(&self, contents: &Contents, alpn: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
        let unusable_certificate = |error| unusable(&self.certificate, &error);
        let chain: Vec<CertificateDer<'static>> = all(&self.certificate, &contents.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| unusable(&self.key, &error))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable_certificate)?;
        let verifier = self.verifier(contents)?;
        let asks = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(unusable_certificate)?;
        server.alpn_protocols = alpn.to_vec();
        if asks {
            // A connection that is resumed shows no certificate, and it may have been revoked meanwhile.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        } else {
            server.ticketer = Ticketer::new().map_err(unusable_certificate)?;
            server.send_tls13_tickets = 1;
        }
        Ok(server)
    }

    fn verifier(&self, contents: &Contents) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(file), Some(bytes)) = (&self.client_authority, &contents.authority) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for root in all(file, bytes)? {
            roots.add(root).map_err(|error| unusable(file, &error))?;
        }
        let provider = Arc::new(default_provider());
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if let (Some(file), Some(bytes)) = (&self.client_revocations, &contents.revocations) {
            let lists: Vec<CertificateRevocationListDer<'static>> = all(file, bytes)?;
            verifier = verifier.with_crls(lists).enforce_revocation_expiration();
        }
        if self.client_certificate == ClientCertificate::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|error| unusable(file, &error))?;
        Ok(Some(verifier))
    }
}

impl Contents {
    /// Equal for equal contents.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key, &self.authority, &self.revocations).hash(&mut hasher);
        hasher.finish()
    }
}

/// A stream of which only so many bytes are read while a limit is set.
pub struct Budgeted<S> {
    stream: S,
    left: Option<usize>,
}

impl<S> Budgeted<S> {
    /// The stream itself.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Budgeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, room))?;
        if let Some(left) = self.left {
            let received = room.filled().len() - before;
            let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long");
            self.left = Some(left.checked_sub(received).ok_or_else(too_long)?);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Budgeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Everything of one kind in a file, which holds at least one.
fn all<T: PemObject>(file: &Path, bytes: &[u8]) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(file, &"it holds nothing of what it is for")),
        found => found.map_err(|error| unusable(file, &error)),
    }
}
