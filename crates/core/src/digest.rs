//! Keyed digests: how secrets of high entropy are stored and looked up (reliability.md C1, "Use a DB dump").

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of a [`DigestKey`] in bytes.
pub const KEY_BYTES: usize = 32;

/// A key that is kept outside the database and turns secrets into digests.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DigestKey([u8; KEY_BYTES]);

impl DigestKey {
    /// Takes the key's bytes.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads a key of exactly [`KEY_BYTES`]; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// HMAC-SHA-256 of `parts`, each preceded by its length, so that no two lists of parts share a digest.
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `digest` is that of `parts`, in time that does not depend on where they differ.
    pub fn verify(&self, parts: &[&[u8]], digest: &[u8]) -> bool {
        self.digest(parts).ct_eq(digest).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = DigestKey::new([7; KEY_BYTES]);
        assert_ne!(key.digest(&[b"ab", b"c"]), key.digest(&[b"a", b"bc"]));
        assert!(key.verify(&[b"ab"], &key.digest(&[b"ab"])));
        assert!(!key.verify(&[b"ab"], &key.digest(&[b"ac"])));
    }
}
