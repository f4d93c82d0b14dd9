//! What kubectl reads in the documents, on built-in kinds and on Velero's.

use super::*;

fn served() -> Vec<Kind> {
    let mut kinds = crate::builtin::kinds::kinds();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/crds/backups.velero.io.yaml"
    );
    let text = std::fs::read_to_string(file).expect("the CRD of backups");
    let crd = serde_saphyr::from_str(&text).expect("YAML");
    kinds.extend(crate::custom::kinds(&crd).expect("a good definition"));
    kinds
}

fn document_of(group: &str, version: &str) -> Value {
    document(&served(), group, version).expect("a document")
}

#[test]
fn every_group_and_version_has_a_document_under_its_hash() {
    let kinds = served();
    let index = index(&kinds);
    let paths = index["paths"].as_object().expect("paths");
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/velero.io/v1"));
    let url = paths["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("a URL");
    assert_eq!(
        url,
        format!("/openapi/v3/apis/apps/v1?hash={}", hash(&kinds, "apps", "v1"))
    );
    assert_eq!(document(&kinds, "nope", "v1"), None);
}

#[test]
fn a_changed_definition_has_another_hash() {
    let before = served();
    let mut after = before.clone();
    let last = after.last_mut().expect("a kind");
    let mut custom = (**last.custom.as_ref().expect("custom")).clone();
    custom.open_api["description"] = json!("Another.");
    last.custom = Some(custom.into());
    assert_ne!(hash(&before, "velero.io", "v1"), hash(&after, "velero.io", "v1"));
    assert_eq!(hash(&before, "apps", "v1"), hash(&after, "apps", "v1"));
}

#[test]
fn every_reference_leads_somewhere() {
    let kinds = served();
    for path in index(&kinds)["paths"].as_object().expect("paths").keys() {
        let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
            ["api", version] => ("", version),
            ["apis", group, version] => (group, version),
            _ => panic!("{path}"),
        };
        let document = document(&kinds, group, version).expect(path);
        let mut wanted = BTreeSet::new();
        collect_references(&document, &mut wanted);
        for name in wanted {
            assert!(
                !document["components"]["schemas"][&name].is_null(),
                "{path}: {name}"
            );
        }
    }
}

#[test]
fn every_kind_is_found_by_its_name() {
    let kinds = served();
    for kind in &kinds {
        let document = document(&kinds, &kind.group, &kind.version).expect("a document");
        let own = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let of_kind = |schema: &Value| {
            schema["x-kubernetes-group-version-kind"]
                .as_array()
                .is_some_and(|all| all.contains(&own))
        };
        assert!(schemas.values().any(of_kind), "{own}");
    }
}

#[test]
fn pods_are_described_as_kubernetes_describes_them() {
    let document = document_of("", "v1");
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["description"],
        "Pod is a collection of containers that can run on a host. This resource is created by clients and scheduled onto hosts."
    );
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    assert!(pod["required"].is_null());
    assert_eq!(
        pod["properties"]["spec"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(
        containers["items"],
        json!({"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"})
    );
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"],
        "int-or-string"
    );
}

#[test]
fn patch_takes_field_validation_so_that_kubectl_leaves_it_to_the_server() {
    for (group, version, path, kind) in [
        ("", "v1", "/api/v1/namespaces/{namespace}/pods/{name}", "Pod"),
        (
            "velero.io",
            "v1",
            "/apis/velero.io/v1/namespaces/{namespace}/backups/{name}",
            "Backup",
        ),
        (
            "storage.k8s.io",
            "v1",
            "/apis/storage.k8s.io/v1/storageclasses/{name}",
            "StorageClass",
        ),
    ] {
        let patch = &document_of(group, version)["paths"][path]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": group, "version": version, "kind": kind})
        );
        let names: Vec<&str> = patch["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    }
}

#[test]
fn operations_have_kubernetes_names() {
    let document = document_of("", "v1");
    let id = |path: &str, method: &str| document["paths"][path][method]["operationId"].clone();
    assert_eq!(id("/api/v1/pods", "get"), "listCoreV1PodForAllNamespaces");
    assert_eq!(
        id("/api/v1/namespaces/{namespace}/pods", "get"),
        "listCoreV1NamespacedPod"
    );
    assert_eq!(
        id("/api/v1/namespaces/{namespace}/pods/{name}", "put"),
        "replaceCoreV1NamespacedPod"
    );
    assert_eq!(id("/api/v1/nodes/{name}", "get"), "readCoreV1Node");
    let velero = document_of("velero.io", "v1");
    let path = "/apis/velero.io/v1/namespaces/{namespace}/backups/{name}";
    assert_eq!(
        velero["paths"][path]["get"]["operationId"],
        "readVeleroIoV1NamespacedBackup"
    );
    assert_eq!(velero["paths"][path]["get"]["tags"], json!(["veleroIo_v1"]));
}

#[test]
fn custom_kinds_have_their_own_schema_and_the_fields_of_every_object() {
    let document = document_of("velero.io", "v1");
    let schemas = &document["components"]["schemas"];
    let backup = &schemas["io.velero.v1.Backup"];
    assert_eq!(backup["properties"]["kind"]["type"], "string");
    assert_eq!(
        backup["properties"]["metadata"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}])
    );
    assert!(backup["properties"]["spec"]["properties"]["includedNamespaces"].is_object());
    assert_eq!(
        schemas["io.velero.v1.BackupList"]["properties"]["items"]["items"],
        json!({"$ref": "#/components/schemas/io.velero.v1.Backup"})
    );
    assert!(!document["components"]["schemas"]["io.k8s.api.core.v1.Pod"].is_object());
}
