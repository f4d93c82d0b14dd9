//! The vectors of kopia-format.md Appendix B.1 and B.2.

use super::{envelope::Envelope, password::*, *};

fn bytes(from: u8) -> Vec<u8> {
    (from..from + 32).collect()
}

fn sealer_with(hash: HashAlgorithm, cipher: Cipher) -> Sealer {
    let algorithms = Algorithms {
        hash,
        cipher,
        correction: None,
    };
    Sealer::new(algorithms, &bytes(0x40), &bytes(0x20), Environment::system()).unwrap()
}

fn sealer() -> Sealer {
    sealer_with(HashAlgorithm::Blake2b256Cut128, Cipher::Aes256Gcm)
}

#[test]
fn every_hash_of_abc_is_kopias() {
    let expected = [
        ("BLAKE2B-256-128", "52cd07d6d5c07fe7b6c0cdb348fbccde"),
        (
            "BLAKE2B-256",
            "52cd07d6d5c07fe7b6c0cdb348fbccde6d6bfc92d6af927d908174278407d7aa",
        ),
        ("BLAKE2S-128", "4ea381e5210352151f261d9a80f02738"),
        (
            "BLAKE2S-256",
            "5e5da48513c0d83ef6b5a5bfd320048527e4cf435aba1d50f9dff61badeddad5",
        ),
        (
            "BLAKE3-256",
            "19cead3fa2a2b6b75fc9158995450ecf2ed8435ba85daa370ad7acf2dcaca834",
        ),
        ("BLAKE3-256-128", "19cead3fa2a2b6b75fc9158995450ecf"),
        (
            "HMAC-SHA256",
            "910f4315f170bdf2f5a197d760828322c22cf67c043b7df72b6920db6e4caf97",
        ),
        ("HMAC-SHA256-128", "910f4315f170bdf2f5a197d760828322"),
        (
            "HMAC-SHA224",
            "dfde8f22094287db338090f5758965ae018fb3e4c3d55d4234d21951",
        ),
        (
            "HMAC-SHA3-224",
            "4249071e46429380f0889d955648168cf07b799ffe6356315d119d1f",
        ),
        (
            "HMAC-SHA3-256",
            "eca7c88d3ed631f3fe5956452f3bfb596a4adfc4d1bb3d8c84caf7dfa3c34a93",
        ),
    ];
    for (name, hash) in expected {
        let sealer = sealer_with(HashAlgorithm::by_name(name).unwrap(), Cipher::Aes256Gcm);
        assert_eq!(hex::encode(&*sealer.hash(b"abc")), hash, "{name}");
        assert_eq!(sealer.hash_length() * 2, hash.len());
    }
    assert!(
        HashAlgorithm::by_name("MD5")
            .unwrap_err()
            .to_string()
            .contains("MD5")
    );
}

#[test]
fn chacha_seals_as_kopia_does_and_its_samples_open() {
    let sealer = sealer_with(HashAlgorithm::Blake2b256Cut128, Cipher::ChaCha20Poly1305);
    let iv = sealer.hash(b"abc");
    let mut segment = Vec::new();
    sealer.seal_with_nonce(&iv, [0; 12], b"abc", &mut segment);
    assert_eq!(
        hex::encode(&segment),
        "000000000000000000000000d5e04fe42757ad436cc6d44dcbfdc027dc4f0d"
    );
    let samples = [
        (
            Cipher::Aes256Gcm,
            "e43ba07f85a6d70c5f1102ca06cf19c597e5f91e527b21f00fb76e8bec3fd1",
        ),
        (
            Cipher::ChaCha20Poly1305,
            "118359f3d4d589d939efbbc3168ae4c77c51bcebce6845fe6ef5d11342faa6",
        ),
    ];
    for (cipher, sample) in samples {
        let algorithms = Algorithms {
            hash: HashAlgorithm::HmacSha256,
            cipher,
            correction: None,
        };
        let master = b"01234567890123456789012345678901";
        let sealer = Sealer::new(algorithms, &bytes(0x40), master, Environment::system()).unwrap();
        let plain = sealer.open(b"aabbccddeeffgghhiijjkkllmmnnoopp", &hex::decode(sample).unwrap());
        assert_eq!(plain.unwrap(), b"foo", "{cipher:?}");
    }
}

#[test]
fn keys_that_a_hash_cannot_take_are_refused_and_short_ones_stretched() {
    let with = |hash, secret: &[u8]| hash::KeyedHash::new(hash, secret);
    assert!(with(HashAlgorithm::Blake2b256, &[1; 65]).is_none());
    assert!(with(HashAlgorithm::Blake2s256, &[1; 33]).is_none());
    assert!(with(HashAlgorithm::Blake2s128, &[]).is_none());
    let short = with(HashAlgorithm::Blake3, b"short").unwrap().hash(b"abc");
    let stretched = blake3::derive_key("kopia blake3 derived key v1", b"short");
    assert_eq!(*short, *blake3::keyed_hash(&stretched, b"abc").as_bytes());
    let unkeyed = with(HashAlgorithm::Blake2b256, &[]).unwrap().hash(b"abc");
    assert_eq!(
        hex::encode(&*unkeyed),
        "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
    );
}

#[test]
fn error_correction_lies_around_the_seal_and_repairs_it() {
    let algorithms = Algorithms {
        hash: HashAlgorithm::Blake2s256,
        cipher: Cipher::Aes256Gcm,
        correction: Some(ErrorCorrection::new(5)),
    };
    let sealer = Sealer::new(algorithms, &bytes(0x40), &bytes(0x20), Environment::system()).unwrap();
    let (name, mut body) = sealer.seal_blob("n", "", &[7; 5000]);
    let middle = body.len() / 2;
    body[middle] ^= 0xff;
    assert_eq!(sealer.open_blob(&name, &body).unwrap(), [7; 5000]);
    body[middle - 1000..].fill(0);
    assert!(sealer.open_blob(&name, &body).is_none());
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
    assert_eq!(hex::encode(&*iv), "52cd07d6d5c07fe7b6c0cdb348fbccde");
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
