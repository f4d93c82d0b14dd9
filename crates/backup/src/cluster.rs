//! Reading objects as plain JSON: exactly what the API server sends goes into the tarball.

use kube::api::{DynamicObject, GetParams, ListParams, Request};
use kube::core::ApiResource;
use kube::{Client, Resource as _};
use serde_json::Value;

/// Items asked for at a time, unless the server's `--client-page-size` says otherwise. Velero's default.
pub const PAGE_SIZE: u32 = 500;

/// One object; `None` when it does not exist.
///
/// # Errors
/// Those of the client, "not found" apart.
pub async fn get(
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, kube::Error> {
    let request = request(resource, namespace)
        .get(name, &GetParams::default())
        .map_err(kube::Error::BuildRequest)?;
    match client.request::<Value>(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// All objects, a page in memory at a time; each item gets the `apiVersion` and `kind` that lists leave out. `namespace`
/// empty: all. When a page's token expires (a list that takes longer than etcd keeps history), everything is listed again
/// at once, so that an object may come twice.
///
/// # Errors
/// Those of the client.
pub async fn list(
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    labels: Option<&str>,
    page_size: u32,
    mut each: impl FnMut(Value),
) -> Result<(), kube::Error> {
    let mut params = ListParams {
        label_selector: labels.map(str::to_owned),
        limit: (page_size > 0).then_some(page_size),
        ..ListParams::default()
    };
    let mut first = true;
    loop {
        let request = request(resource, namespace)
            .list(&params)
            .map_err(kube::Error::BuildRequest)?;
        let mut page = match client.request::<Value>(request).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 410 && !first => {
                params.continue_token = None;
                params.limit = None;
                first = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        first = false;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            for mut item in items {
                item["apiVersion"] = Value::from(resource.api_version.clone());
                item["kind"] = Value::from(resource.kind.clone());
                each(item);
            }
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => params.continue_token = Some(token.to_owned()),
            _ => return Ok(()),
        }
    }
}

fn request(resource: &ApiResource, namespace: &str) -> Request {
    let namespace = (!namespace.is_empty()).then_some(namespace);
    Request::new(DynamicObject::url_path(resource, namespace))
}

/// A text of an object, by JSON pointer; empty when absent.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`; empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// A label or annotation (`field` is `labels` or `annotations`).
pub fn metadata_entry<'a>(object: &'a Value, field: &str, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.get(key)?.as_str()
}

/// Sets a label or annotation.
pub fn set_metadata_entry(object: &mut Value, field: &str, key: &str, value: &str) {
    let metadata = &mut object["metadata"][field];
    if !metadata.is_object() {
        *metadata = serde_json::json!({});
    }
    metadata[key] = Value::from(value);
}
