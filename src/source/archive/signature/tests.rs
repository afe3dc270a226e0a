//! Who may sign, and what is taken for signed. The secret keys beside this file were made for these tests and are known to everybody:
//! ed25519, of 2025-01-01; `expired` for two days, `certifies` for no signatures, `sub` with a subkey for them. `weak` is RSA, for which
//! SHA-1 can be taken.

use super::*;
use pgp::composed::SignedSecretKey;
use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
use pgp::types::{Password, SigningKey, Timestamp};

/// 2025-01-02, when all texts here are signed.
pub(in crate::source::archive) const THEN: u64 = 1_735_776_000;

fn secret(name: &str) -> SignedSecretKey {
    let text = match name {
        "good" => include_str!("keys/good.asc"),
        "other" => include_str!("keys/other.asc"),
        "expired" => include_str!("keys/expired.asc"),
        "revoked" => include_str!("keys/revoked.asc"),
        "certifies" => include_str!("keys/certifies.asc"),
        "sub" => include_str!("keys/sub.asc"),
        _ => panic!("{name}"),
    };
    SignedSecretKey::from_string(text).unwrap().0
}

/// The public keys of these names, in armour.
pub(in crate::source::archive) fn public(name: &str) -> String {
    secret(name).to_public_key().to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
}

fn by(key: &impl SigningKey, text: &str) -> String {
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha512);
    let at = SubpacketData::SignatureCreationTime(Timestamp::from_secs(u32::try_from(THEN).unwrap()));
    config.hashed_subpackets = vec![
        Subpacket::regular(at).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    let message = CleartextSignedMessage::new(text, config, key, &Password::empty()).unwrap();
    message.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
}

/// The text, signed by the key of that name, or by its subkey.
pub(in crate::source::archive) fn signed(text: &str, name: &str) -> String {
    let key = secret(name);
    match key.secret_subkeys.first() {
        Some(sub) => by(&sub.key, text),
        None => by(&key.primary_key, text),
    }
}

fn ring(names: &[&str]) -> Keyring {
    let mut ring = Keyring::default();
    for name in names {
        ring.add(public(name).as_bytes()).unwrap();
    }
    ring
}

fn print_of(name: &str) -> String {
    let key = secret(name);
    key.secret_subkeys.first().map_or_else(|| id(&key.primary_key), |sub| id(&sub.key))
}

const TEXT: &str = "Suite: x\n- dashes\nEnd: y\n";

#[test]
fn what_a_trusted_key_or_its_subkey_signed_is_read_as_it_was() {
    for name in ["good", "sub"] {
        let read = ring(&["other", name]).signed(&signed(TEXT, name), THEN + 1).unwrap();
        assert_eq!(read.trim_end(), TEXT.trim_end(), "{name}");
    }
}

#[test]
fn who_may_not_sign() {
    let refused = |name: &str, now| ring(&["good", name]).signed(&signed(TEXT, name), now).unwrap_err();
    assert_eq!(refused("expired", THEN + 86_400 * 2), Refusal::Expired(print_of("expired")));
    assert_eq!(refused("revoked", THEN), Refusal::Revoked(print_of("revoked")));
    assert_eq!(refused("certifies", THEN), Refusal::Forbidden(print_of("certifies")));
    let unknown = ring(&["good"]).signed(&signed(TEXT, "other"), THEN).unwrap_err();
    assert_eq!(unknown, Refusal::Unknown(vec![print_of("other")]));
    assert_eq!(unknown.to_string(), format!("is signed by a key that is not trusted: {}", print_of("other")));
    // A subkey that does not say whose it is may be anybody's.
    let mut stolen = secret("sub").to_public_key();
    stolen.public_subkeys[0].signatures.clear();
    assert!(whole(&stolen, stolen.public_subkeys.first(), THEN, "x").is_err());
}

#[test]
fn a_text_that_was_changed_or_has_more_around_it_is_not_read() {
    let (ring, whole) = (ring(&["good"]), signed(TEXT, "good"));
    let refused = |text: &str| ring.signed(text, THEN).unwrap_err();
    assert_eq!(refused(&whole.replace("Suite: x", "Suite: z")), Refusal::Wrong(print_of("good")));
    assert_eq!(refused(&whole.replace("End: y", "End: y\nMore: z")), Refusal::Wrong(print_of("good")));
    for around in [
        format!("Suite: z\n{whole}"),
        format!("{whole}Suite: z\n"),
        whole.replace("Hash: SHA512", "Hash: SHA512\nSuite: z"),
        whole.replace("\n\nSuite", "\nSuite: z\n\nSuite"),
        TEXT.to_owned(),
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        format!("{whole}{whole}"),
    ] {
        assert!(matches!(refused(&around), Refusal::Malformed(_)), "{around}");
    }
}

#[test]
fn sha_1_proves_nothing() {
    let mut ring = Keyring::default();
    ring.add(include_bytes!("keys/weak.pub")).unwrap();
    let refused = ring.signed(include_str!("keys/weak.txt"), THEN).unwrap_err();
    assert!(matches!(refused, Refusal::Weak(_)), "{refused}");
}

#[test]
fn keys_by_fingerprint_and_several_in_one_file() {
    let mut ring = Keyring::default();
    ring.add(format!("{}{}", public("good"), public("sub")).as_bytes()).unwrap();
    assert_eq!(ring.0.len(), 2);
    ring.retain(&[print_of("sub")]);
    assert!(ring.signed(&signed(TEXT, "sub"), THEN).is_ok() && ring.signed(&signed(TEXT, "good"), THEN).is_err());
    ring.retain(&[]);
    assert!(ring.is_empty());
    assert!(Keyring::default().add(b"no key").is_err());
}

/// Each of Debian's keys can sign: were it not so, one release could not be read.
#[test]
fn debians_own_keys_are_understood() {
    let mut ring = Keyring::default();
    ring.add(super::super::keys::DEBIAN).unwrap();
    assert!(ring.0.len() >= 7, "{}", ring.0.len());
    for key in &ring.0 {
        let sub = key.public_subkeys.first();
        let name = id(&key.primary_key);
        assert_eq!(whole(key, None, THEN + 86_400 * 365, &name), Ok(()), "{name}");
        if let Some(sub) = sub {
            assert_eq!(whole(key, Some(sub), THEN + 86_400 * 365, &name), Ok(()), "{name}");
        }
    }
}

#[test]
fn what_would_take_ages_to_read_is_refused_at_once() {
    let message = format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{}", "\n".repeat(1 << 20));
    let refusal = ring(&["good"]).signed(&message, THEN).unwrap_err();
    assert!(refusal.to_string().contains("too long"), "{refusal}");
}
