//! Messages built by hand, byte by byte as Go writes them; kubectl itself is asked in `tests/conformance.rs`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A field of bytes: a text or a message.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(value.len()).expect("short")];
    field.extend(value);
    field
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &type_meta), bytes(2, object)].concat()
}

#[test]
fn a_namespace_as_kubectl_sends_it_has_no_empty_fields() {
    // metadata: name, then the zeros that Go writes; empty spec and status.
    let metadata = [
        bytes(1, b"velero"),
        bytes(2, b""),
        bytes(3, b""),
        number(7, 0),
        bytes(8, b""),
    ]
    .concat();
    let namespace = [bytes(1, &metadata), bytes(2, b""), bytes(3, b"")].concat();
    assert_eq!(
        decode(&body("v1", "Namespace", &namespace)),
        Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}))
    );
}

#[test]
fn maps_bytes_and_inlined_structs_become_json() {
    let data = [bytes(1, b"key"), bytes(2, b"value")].concat();
    let secret = [bytes(2, &data), bytes(3, b"Opaque"), number(5, 0)].concat();
    assert_eq!(
        decode(&body("v1", "Secret", &secret)),
        Ok(
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"key": "dmFsdWU="}, "type": "Opaque", "immutable": false})
        )
    );
    // volumes[0]: name, and an emptyDir inside the inlined VolumeSource.
    let volume = [bytes(1, b"data"), bytes(2, &bytes(2, b""))].concat();
    let pod = bytes(2, &[bytes(1, &volume), number(4, 30)].concat());
    assert_eq!(
        decode(&body("v1", "Pod", &pod)),
        Ok(
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": [{"name": "data", "emptyDir": {}}], "terminationGracePeriodSeconds": 30}})
        )
    );
}

#[test]
fn ports_quantities_and_lists_in_maps_become_json() {
    let by_name = [number(1, 1), number(2, 0), bytes(3, b"http")].concat();
    let by_number = [number(1, 0), number(2, 80), bytes(3, b"")].concat();
    let ports: Vec<u8> = [by_name, by_number]
        .iter()
        .flat_map(|port| bytes(1, &bytes(4, port)))
        .collect();
    assert_eq!(
        decode(&body("v1", "Service", &bytes(2, &ports))),
        Ok(
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"targetPort": "http"}, {"targetPort": 80}]}})
        )
    );
    let hard = [bytes(1, b"pods"), bytes(2, &bytes(1, b"10"))].concat();
    assert_eq!(
        decode(&body("v1", "ResourceQuota", &bytes(2, &bytes(1, &hard)))),
        Ok(json!({"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "10"}}}))
    );
    let extra = [
        bytes(1, b"scopes"),
        bytes(2, &[bytes(1, b"a"), bytes(1, b"b")].concat()),
    ]
    .concat();
    let review = bytes(2, &[bytes(3, b"alice"), bytes(5, &extra)].concat());
    assert_eq!(
        decode(&body("authorization.k8s.io/v1", "SubjectAccessReview", &review)),
        Ok(
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "alice", "extra": {"scopes": ["a", "b"]}}})
        )
    );
}

#[test]
fn options_of_a_deletion_are_the_same_in_every_group() {
    let options = [number(1, 0), bytes(4, b"Foreground")].concat();
    assert_eq!(
        decode(&body("apps/v1", "DeleteOptions", &options)),
        Ok(
            json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Foreground"})
        )
    );
}

#[test]
fn every_message_names_fields_of_its_type() {
    for (name, places) in MESSAGES.iter() {
        let Some(of) = types::named(name) else { continue };
        for place in places.values() {
            match place {
                Place::Field(field) => assert!(of.fields.contains_key(field), "{name}.{field}"),
                Place::Inline(inner) => assert!(MESSAGES.contains_key(inner), "{name}: {inner}"),
            }
        }
    }
}

#[test]
fn what_is_not_protobuf_is_refused() {
    let reason = |body: &[u8]| decode(body).expect_err("refused").reason;
    assert_eq!(reason(b"{}"), Reason::BadRequest);
    assert_eq!(reason(b"k8s\0\xff"), Reason::BadRequest);
    assert_eq!(
        reason(&body("velero.io/v1", "Backup", b"")),
        Reason::UnsupportedMediaType
    );
    assert_eq!(
        reason(&body("v1", "Namespace", &[0x0a, 0x7f])),
        Reason::BadRequest
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(object in proptest::collection::vec(any::<u8>(), 0..100)) {
        for kind in ["Pod", "Namespace", "Service", "Event"] {
            let _ = decode(&body("v1", kind, &object));
        }
        let _ = decode(&[MAGIC, &object].concat());
    }
}
