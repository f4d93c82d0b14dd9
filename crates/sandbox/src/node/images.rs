//! Images: which [`Program`] a container's image stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Program;

/// Programs by the name of their image, without registry, tag and digest.
#[derive(Clone, Default)]
pub struct Images(BTreeMap<String, Arc<dyn Program>>);

impl Images {
    /// Adds an image; the name may have a registry and a tag, which are left out.
    pub fn add(&mut self, name: &str, program: Arc<dyn Program>) {
        self.0.insert(repository(name).to_owned(), program);
    }

    /// The program of an image as a pod names it.
    pub fn find(&self, image: &str) -> Option<Arc<dyn Program>> {
        self.0.get(repository(image)).cloned()
    }
}

/// `docker.io/local/shop:1@sha256:…` is `local/shop`.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[last..].find(':') {
        Some(colon) => &name[..last + colon],
        None => name,
    };
    let name = match name.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => rest,
        _ => name,
    };
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn an_image_is_known_by_its_name_without_registry_tag_and_digest() {
        for (image, name) in [
            ("velero/velero", "velero/velero"),
            ("velero/velero:v1.18", "velero/velero"),
            ("docker.io/local/shop:1", "local/shop"),
            ("localhost:5000/shop", "shop"),
            ("shop@sha256:00", "shop"),
            ("docker.io/library/busybox:1", "busybox"),
        ] {
            assert_eq!(repository(image), name, "{image}");
        }
    }
}
