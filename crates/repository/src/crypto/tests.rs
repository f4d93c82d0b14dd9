//! The vectors of kopia-format.md Appendix B.1 and B.2.

use super::{envelope::Envelope, password::*, *};

fn bytes(from: u8) -> Vec<u8> {
    (from..from + 32).collect()
}

fn sealer() -> Sealer {
    Sealer::new(&bytes(0x40), &bytes(0x20), Environment::system()).unwrap()
}

#[test]
fn passwords_become_kopias_format_keys() {
    let slow = SlowKeyDerivation;
    let scrypt = slow.derive(SCRYPT, b"static-passw0rd", &bytes(0)).unwrap();
    assert_eq!(
        hex::encode(scrypt.as_ref()),
        "ffe609844d93eddf89ad495da77bd83e8cec100e27b03a6257d505de6e36094d"
    );
    let pbkdf2 = slow.derive(PBKDF2, b"static-passw0rd", &bytes(0)).unwrap();
    assert_eq!(
        hex::encode(pbkdf2.as_ref()),
        "518d6d7b82de0409ec8e6ac75d7c8bbffc679b706969d9122bf26bfdccaa034b"
    );
    let (key, aad) = Envelope::new(&scrypt, &bytes(0)).keys();
    assert_eq!(
        key,
        "40b4dbe53119dcba4a63bfdcda08da6f0c89041d64355962e8a2076796626bc2"
    );
    assert_eq!(
        aad,
        "d0d652b890ca4d62b340f8466bb95997f7a4a61a1c005a5c7153601dea229045"
    );
}

#[test]
fn unknown_key_derivation_is_unsupported_by_name() {
    let error = SlowKeyDerivation.derive("argon2", b"p", b"salt").unwrap_err();
    assert_eq!(error.kind(), crate::RepositoryErrorKind::Unsupported);
    assert!(error.to_string().contains("argon2"));
}

#[test]
fn hkdf_gives_kopias_vectors() {
    let own = hkdf_sha256(b"ABCDEFGHIJKLMNOP", b"0123456789012345", b"the-test-purpose");
    assert_eq!(
        hex::encode(own.as_ref()),
        "828769ee8969bc37f11dbaa32838f8db6c19daa6e3ae5f5eed2da2d94d8faddb"
    );
    let secret = hkdf_sha256(&bytes(0x20), b"encryption", b"");
    assert_eq!(
        hex::encode(secret.as_ref()),
        "49cbbd8ec38e25389b29de48aa0a383cb3aa37e0e2aa4e02e75c7894aebfacce"
    );
    let maintenance = hkdf_sha256(&bytes(0x20), &bytes(0), b"maintenance schedule");
    assert_eq!(
        hex::encode(maintenance.as_ref()),
        "327e5ba0d7687c8a777e26dddaccb1fc6bdcf0e21a7f753928633d8186db741f"
    );
}

#[test]
fn abc_is_named_and_sealed_as_kopia_does() {
    let sealer = sealer();
    let iv = sealer.hash(b"abc");
    assert_eq!(hex::encode(iv), "52cd07d6d5c07fe7b6c0cdb348fbccde");
    let key = sealer.key(&iv);
    assert_eq!(
        hex::encode(key.as_ref()),
        "f4d2b2843c54baf99683a1506a1925dce59b2c3acfaf1795c371124fae49b92e"
    );
    let mut segment = Vec::new();
    sealer.seal_with_nonce(&iv, [0; 12], b"abc", &mut segment);
    assert_eq!(
        hex::encode(&segment),
        "000000000000000000000000c780c08568c0f92d36d5e3ad40940b4cf07b52"
    );
    assert_eq!(sealer.open(&iv, &segment).unwrap(), b"abc");
}

#[test]
fn one_flipped_bit_is_noticed() {
    let sealer = sealer();
    let iv = sealer.hash(b"some text");
    let mut segment = Vec::new();
    sealer.seal_into(&iv, b"some text", &mut segment);
    for at in 0..segment.len() {
        let mut altered = segment.clone();
        altered[at] ^= 1;
        assert!(sealer.open(&iv, &altered).is_none(), "byte {at}");
    }
    assert!(sealer.open(&sealer.hash(b"other"), &segment).is_none());
}

#[test]
fn blobs_open_by_their_names() {
    let sealer = sealer();
    let (name, body) = sealer.seal_blob("xn0_", "s0011223344556677147-c1", b"index");
    assert_eq!(sealer.open_blob(&name, &body).unwrap(), b"index");
    assert!(sealer.open_blob("xn0_00", &body).is_none());
    assert!(sealer.open_blob("", &body).is_none());
}
