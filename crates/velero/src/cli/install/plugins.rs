//! `--plugins`: the stores that Velero reaches through plug-in images are built into this binary.
//!
//! An image of such a store is accepted and needs no init container. Any other image is refused, because its actions
//! would silently not run: hosting plug-ins comes with a later version.

/// Why an image needs no init container, for the user; or why it is refused.
pub fn recognise(image: &str) -> Result<&'static str, String> {
    match repository(image).rsplit('/').next() {
        Some("velero-plugin-for-aws") => Ok("S3 and S3-compatible object stores"),
        Some("velero-plugin-for-gcp") => Ok("Google Cloud Storage"),
        Some("velero-plugin-for-microsoft-azure") => Ok("Azure Blob Storage"),
        Some("velero-plugin-for-csi") => Ok("CSI snapshots"),
        _ => Err(format!(
            "plug-in image {image}: this version does not host plug-ins yet; it has the stores of velero/velero-plugin-for-aws, -gcp and -microsoft-azure built in"
        )),
    }
}

/// An image reference without its tag and digest; a port of the registry stays.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// `Always` for a moving tag, `IfNotPresent` for a fixed one.
///
/// Velero decides by the number of colons and so always pulls from a registry with a port; here the tag decides.
pub fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    match image.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') && tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_of_object_stores_are_built_in_wherever_they_are_pulled_from() {
        for image in [
            "velero/velero-plugin-for-gcp:v1.14.0",
            "velero/velero-plugin-for-microsoft-azure:v1.14.0",
            "velero/velero-plugin-for-aws:v1.14.3",
            "registry:5000/mirror/velero-plugin-for-aws",
            "velero-plugin-for-aws@sha256:00",
        ] {
            assert!(recognise(image).is_ok(), "{image}");
        }
    }

    #[test]
    fn an_image_that_is_not_built_in_is_refused_by_name() {
        for image in [
            "velero/velero-plugin-for-alibabacloud:v1.0.0",
            "openebs/velero-plugin:3.6.0",
        ] {
            let refusal = recognise(image).unwrap_err();
            assert!(refusal.contains(image) && refusal.contains("yet"), "{refusal}");
        }
    }

    #[test]
    fn only_a_moving_tag_is_always_pulled() {
        for (image, policy) in [
            ("velero/velero:v1.18.3", "IfNotPresent"),
            ("registry:5000/velero:v1", "IfNotPresent"),
            ("velero@sha256:0123", "IfNotPresent"),
            ("velero/velero:latest", "Always"),
            ("velero/velero", "Always"),
            ("registry:5000/velero", "Always"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
