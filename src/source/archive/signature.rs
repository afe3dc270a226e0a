//! Text that is signed in the clear (RFC 9580 §7), and the keys that may sign it. What is not signed is never given out.

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};
use std::fmt;

/// Keys that are trusted.
#[derive(Debug, Default)]
pub(super) struct Keyring(Vec<SignedPublicKey>);

/// Why a text is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not one signed text and nothing else.
    Malformed(String),
    /// By keys with these ids, which are not in the keyring.
    Unknown(Vec<String>),
    /// The text is not the one that this key signed.
    Wrong(String),
    /// The key, or the signature itself, is past its time.
    Expired(String),
    Revoked(String),
    /// The key is not one that may sign.
    Forbidden(String),
    /// Made over a digest that can be forged.
    Weak(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "is not a signed text: {why}"),
            Self::Unknown(ids) if ids.is_empty() => f.write_str("has no signature"),
            Self::Unknown(ids) => write!(f, "is signed by a key that is not trusted: {}", ids.join(", ")),
            Self::Wrong(id) => write!(f, "is not what the key {id} signed"),
            Self::Expired(id) => write!(f, "is signed by the key {id}, which has expired"),
            Self::Revoked(id) => write!(f, "is signed by the key {id}, which was revoked"),
            Self::Forbidden(id) => write!(f, "is signed by the key {id}, which is not one for signing"),
            Self::Weak(id) => write!(f, "is signed by the key {id} with a digest that can be forged"),
        }
    }
}

/// No message of more bytes times lines is checked, as checking takes that long. Release files of sid have 5 * 10^8, and each costs a fraction of a nanosecond.
const MOST_WORK: usize = 8_000_000_000;

/// No message with more signatures is taken: each is checked over the whole text. Debian's have three.
const MOST_SIGNATURES: usize = 16;

impl Keyring {
    /// Adds the keys of a file: binary, or any number of blocks in armour.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        const BLOCK: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
        let words = |e: pgp::errors::Error| e.to_string();
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BLOCK));
        let Some(text) = text else {
            let keys = SignedPublicKey::from_bytes_many(bytes).map_err(words)?;
            self.0.extend(keys.collect::<Result<Vec<_>, _>>().map_err(words)?);
            return Ok(());
        };
        for block in text.split(BLOCK).skip(1) {
            let block = format!("{BLOCK}{block}");
            let (keys, _) = SignedPublicKey::from_string_many(&block).map_err(words)?;
            self.0.extend(keys.collect::<Result<Vec<_>, _>>().map_err(words)?);
        }
        Ok(())
    }

    /// Leaves only keys of these fingerprints, in capital hex digits: their own, or that of a subkey.
    pub(super) fn retain(&mut self, fingerprints: &[String]) {
        let is_named = |key: &dyn KeyDetails| fingerprints.contains(&format!("{:X}", key.fingerprint()));
        self.0.retain(|key| is_named(&key.primary_key) || key.public_subkeys.iter().any(|sub| is_named(&sub.key)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of `message` that is signed, if at least one of its signatures is good. `now` in seconds since 1970.
    ///
    /// What stands before or behind that part is an error.
    pub(super) fn signed(&self, message: &str, now: u64) -> Result<String, Refusal> {
        // The reader looks through all that it has for the end of the text after each line.
        let lines = message.bytes().filter(|b| *b == b'\n').count();
        if message.len().saturating_mul(lines) > MOST_WORK {
            return Err(Refusal::Malformed("it is too long for a Release file".to_owned()));
        }
        let (message, _) = CleartextSignedMessage::from_string(message)
            .map_err(|e| Refusal::Malformed(e.to_string().lines().take(1).collect()))?;
        let text = message.signed_text();
        if message.signatures().len() > MOST_SIGNATURES {
            return Err(Refusal::Malformed(format!("it has more than {MOST_SIGNATURES} signatures")));
        }
        let mut refused: Vec<Refusal> = Vec::new();
        let mut unknown = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes(), now) {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(Refusal::Unknown(ids)) => unknown.extend(ids),
                Err(other) => refused.push(other),
            }
        }
        // Why a known key was refused says more than that another key is not known.
        Err(refused.into_iter().next().unwrap_or(Refusal::Unknown(unknown)))
    }

    /// The part of `message` that says to be signed, by whomever; of any other text all of it.
    pub(super) fn unchecked(message: &str) -> String {
        let signed = CleartextSignedMessage::from_string(message).map(|(message, _)| message.signed_text());
        signed.unwrap_or_else(|_| message.to_owned()).replace("\r\n", "\n")
    }

    fn check(&self, signature: &Signature, text: &[u8], now: u64) -> Result<(), Refusal> {
        // Of one key there may be copies of several years: none of them may say that it was revoked, and one has to be good.
        let mut ends: Vec<Result<(), Refusal>> = Vec::new();
        for key in &self.0 {
            let primary = &key.primary_key;
            if is_by(signature, primary) {
                ends.push(check(signature, primary, text, now).and_then(|()| whole(key, None, now, &id(primary))));
            } else if let Some(sub) = key.public_subkeys.iter().find(|sub| is_by(signature, &sub.key)) {
                let is_right = check(signature, &sub.key, text, now);
                ends.push(is_right.and_then(|()| whole(key, Some(sub), now, &id(&sub.key))));
            }
        }
        ends.sort_by_key(|end| match end {
            Err(Refusal::Revoked(_)) => 0,
            Ok(()) => 1,
            Err(_) => 2,
        });
        if let Some(end) = ends.into_iter().next() {
            return end;
        }
        let fingerprints = signature.issuer_fingerprint().into_iter().map(|print| format!("{print:X}"));
        let ids = signature.issuer_key_id().into_iter().map(|id| id.to_string().to_uppercase());
        Err(Refusal::Unknown(fingerprints.chain(ids).take(1).collect()))
    }
}

/// For the fuzz target: a signed text, and the keys behind it.
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::source) fn fuzz(text: &str) {
    let (message, keys) = text.split_at(text.find("-----BEGIN PGP PUBLIC").unwrap_or(text.len()));
    let mut ring = Keyring::default();
    let _ = ring.add(keys.as_bytes());
    if let Ok(signed) = ring.signed(message, 1_800_000_000) {
        assert!(signed.lines().all(|line| message.contains(line)), "what is not signed is never given out");
    }
    Keyring::unchecked(message);
}

fn id(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (print, id) = (key.fingerprint(), key.legacy_key_id());
    match &signature.issuer_fingerprint()[..] {
        [] => signature.issuer_key_id().contains(&&id),
        prints => prints.contains(&&print),
    }
}

/// Whether the text is what the key signed.
fn check(signature: &Signature, key: &impl VerifyingKey, text: &[u8], now: u64) -> Result<(), Refusal> {
    if !is_strong(signature) {
        return Err(Refusal::Weak(id(key)));
    }
    let is_of_text = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
    if !is_of_text || signature.verify(key, text).is_err() {
        return Err(Refusal::Wrong(id(key)));
    }
    let created = signature.created().map_or(0, |at| u64::from(at.as_secs()));
    let lasts = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    if lasts > 0 && created + lasts <= now {
        return Err(Refusal::Expired(id(key)));
    }
    Ok(())
}

/// Whether the key, or this subkey of it, may sign today.
fn whole(
    key: &SignedPublicKey,
    sub: Option<&pgp::composed::SignedPublicSubKey>,
    now: u64,
    id: &str,
) -> Result<(), Refusal> {
    let primary = &key.primary_key;
    let details = &key.details;
    if details.revocation_signatures.iter().any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err(Refusal::Revoked(id.to_owned()));
    }
    let of_users = details.users.iter().flat_map(|user| {
        let own = |sig: &&Signature| {
            let is_own = sig.is_certification() && sig.typ() != Some(SignatureType::CertRevocation);
            is_own && is_strong(sig) && sig.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(own)
    });
    let direct = details.direct_signatures.iter().filter(|sig| is_strong(sig) && sig.verify_key(primary).is_ok());
    // The newest signature on a user id counts; a direct one is often there only to name who may revoke the key.
    let own = newest(of_users).or_else(|| newest(direct)).ok_or_else(|| Refusal::Forbidden(id.to_owned()))?;
    if is_over(own, primary, now) {
        return Err(Refusal::Expired(id.to_owned()));
    }
    let Some(sub) = sub else {
        return if may_sign(own) { Ok(()) } else { Err(Refusal::Forbidden(id.to_owned())) };
    };
    let bound = |sig: &&Signature| is_strong(sig) && sig.verify_subkey_binding(primary, &sub.key).is_ok();
    // A revocation counts even if it is made with a weak hash.
    let is_revoked = |sig: &Signature| {
        sig.typ() == Some(SignatureType::SubkeyRevocation) && sig.verify_subkey_binding(primary, &sub.key).is_ok()
    };
    if sub.signatures.iter().any(is_revoked) {
        return Err(Refusal::Revoked(id.to_owned()));
    }
    let binding = sub.signatures.iter().filter(|sig| sig.typ() == Some(SignatureType::SubkeyBinding)).filter(bound);
    let binding = newest(binding).ok_or_else(|| Refusal::Forbidden(id.to_owned()))?;
    if is_over(binding, &sub.key, now) {
        return Err(Refusal::Expired(id.to_owned()));
    }
    // The subkey says itself whose it is: else anybody could take another's key for a subkey of his own.
    let back = binding.embedded_signature();
    let is_mutual = back.is_some_and(|back| back.verify_primary_key_binding(&sub.key, primary).is_ok());
    if is_mutual && may_sign(binding) { Ok(()) } else { Err(Refusal::Forbidden(id.to_owned())) }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|sig| sig.created().map_or(0, |at| at.as_secs()))
}

/// Whether the key's time is over, by what its own signature says.
fn is_over(own: &Signature, key: &impl KeyDetails, now: u64) -> bool {
    let lasts = own.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    lasts > 0 && u64::from(key.created_at().as_secs()) + lasts <= now
}

fn may_sign(own: &Signature) -> bool {
    own.key_flags().sign()
}

fn is_strong(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(signature.hash_alg(), Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

#[cfg(test)]
pub(in crate::source::archive) mod tests;
