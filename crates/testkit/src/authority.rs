//! An authority that issues and revokes certificates, by openssl, in a folder of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{TempDir, free_dir};

/// An authority, gone with its certificates when it is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// Files (PEM) with a certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Everything here panics where openssl is missing or refuses.
impl Authority {
    /// A new authority.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self { folder: free_dir() };
        authority.shell(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout authority.key -out authority.pem \
                -subj /CN=authority -days 2
            : > index.txt
            echo 01 > number
            printf '[ca]\\ndefault_ca = it\\n[it]\\ndatabase = index.txt\\ncrlnumber = number\\ndefault_md = sha256\\n' > ca.conf",
        );
        authority
    }

    /// The file with its own certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Issues a certificate for names as openssl writes them, such as `DNS:localhost,IP:127.0.0.1`. One that was issued under the same
    /// `name` is replaced.
    #[must_use]
    pub fn issue(&self, name: &str, alternative_names: &str) -> Certificate {
        self.shell(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}
            printf 'subjectAltName={alternative_names}\\n' > {name}.ext
            openssl x509 -req -in {name}.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
        ));
        let file = |suffix: &str| self.folder.path().join(format!("{name}.{suffix}"));
        Certificate {
            certificate: file("pem"),
            key: file("key"),
        }
    }

    /// A certificate for this machine.
    #[must_use]
    pub fn issue_for_localhost(&self) -> Certificate {
        self.issue("localhost", "DNS:localhost,IP:127.0.0.1")
    }

    /// Revokes `certificates` and gives the file with the authority's list, which lapses at `until` (`YYYYMMDDHHMMSSZ`).
    #[must_use]
    pub fn revoke(&self, certificates: &[&Certificate], until: &str) -> PathBuf {
        let ca = "openssl ca -config ca.conf -cert authority.pem -keyfile authority.key";
        for certificate in certificates {
            self.shell(&format!("{ca} -revoke {}", certificate.certificate.display()));
        }
        self.shell(&format!(
            "{ca} -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate {until} -out revoked.pem"
        ));
        self.folder.path().join("revoked.pem")
    }

    /// TLS for a client that trusts this authority alone, and shows `certificate`.
    #[must_use]
    pub fn connector(&self, certificate: Option<&Certificate>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.file()).expect("openssl writes PEM");
        roots.add(own).expect("the authority can be trusted");
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let client = client.with_safe_default_protocol_versions().expect("ring has them");
        let client = client.with_root_certificates(roots);
        let client = match certificate {
            Some(certificate) => {
                let shown = CertificateDer::from_pem_file(&certificate.certificate).expect("openssl writes PEM");
                let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("openssl writes PEM");
                client
                    .with_client_auth_cert(vec![shown], key)
                    .expect("the key is the certificate's")
            }
            None => client.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(client))
    }

    fn shell(&self, script: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(self.folder.path());
        let output = shell.stdin(Stdio::null()).output().expect("a shell runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "openssl is needed (`apt install openssl`): {complaint}"
        );
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
