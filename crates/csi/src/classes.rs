//! Which VolumeSnapshotClass takes the snapshot (velero-behaviour.md 4.1; upstream `pkg/util/csi/volume_snapshot.go`).
//!
//! In this order: the PVC's annotation, the Backup's annotation for the driver, the class labelled for Velero, the
//! default class, the only class of the driver. Different from Velero: a class that an annotation names must exist and
//! belong to the driver, else the item fails (Velero logs it and takes another class).

use kube::ResourceExt;

use crate::types::{IS_DEFAULT_CLASS, VolumeSnapshotClass};

/// Label of the class that Velero shall use for its driver (presence counts), and the PVC's annotation with its name.
pub const VELERO_CLASS: &str = "velero.io/csi-volumesnapshot-class";

/// What is known about the volume.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// CSI driver of the volume.
    pub driver: &'a str,
    /// Value of [`VELERO_CLASS`] on the PVC.
    pub named_by_pvc: Option<&'a str>,
    /// Value of `velero.io/csi-volumesnapshot-class_<driver in lower case>` on the Backup.
    pub named_by_backup: Option<&'a str>,
}

/// Why no class was chosen; the text says what to annotate or label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    #[error(
        "VolumeSnapshotClass {class:?}, named by the annotation of the {named_by}, does not exist; correct the annotation or create the class"
    )]
    NamedButMissing { class: String, named_by: &'static str },
    #[error(
        "VolumeSnapshotClass {class:?}, named by the annotation of the {named_by}, belongs to driver {its_driver:?}, but the volume belongs to {driver:?}; name a class of that driver"
    )]
    NamedOfOtherDriver {
        class: String,
        named_by: &'static str,
        its_driver: String,
        driver: String,
    },
    #[error(
        "no VolumeSnapshotClass for driver {driver:?}; create one with `driver: {driver}` and label it {VELERO_CLASS}=true"
    )]
    NoneForDriver { driver: String },
    #[error(
        "several VolumeSnapshotClasses for driver {driver:?} ({}) and none is chosen; label the one to use: kubectl label volumesnapshotclass <name> {VELERO_CLASS}=true", classes.join(", ")
    )]
    SeveralForDriver { driver: String, classes: Vec<String> },
}

/// Chooses the class. Several labelled (or several default) classes: the first by name.
///
/// # Errors
/// [`ClassError`].
pub fn select<'a>(
    classes: &'a [VolumeSnapshotClass],
    wanted: Wanted<'_>,
) -> Result<&'a VolumeSnapshotClass, ClassError> {
    if let Some(class) = wanted.named_by_pvc {
        return named(classes, class, "PersistentVolumeClaim", wanted.driver);
    }
    if let Some(class) = wanted.named_by_backup {
        return named(classes, class, "Backup", wanted.driver);
    }
    let mut of_driver: Vec<&VolumeSnapshotClass> = classes
        .iter()
        .filter(|class| class.driver == wanted.driver)
        .collect();
    of_driver.sort_by_key(|class| class.name_any());
    let labelled = of_driver
        .iter()
        .find(|class| class.labels().contains_key(VELERO_CLASS));
    let default = || {
        of_driver.iter().find(|class| {
            class
                .annotations()
                .get(IS_DEFAULT_CLASS)
                .is_some_and(|value| value == "true")
        })
    };
    match (labelled.or_else(default), of_driver.as_slice()) {
        (Some(class), _) | (None, [class]) => Ok(class),
        (None, []) => Err(ClassError::NoneForDriver {
            driver: wanted.driver.to_owned(),
        }),
        (None, several) => Err(ClassError::SeveralForDriver {
            driver: wanted.driver.to_owned(),
            classes: several.iter().map(|class| class.name_any()).collect(),
        }),
    }
}

fn named<'a>(
    classes: &'a [VolumeSnapshotClass],
    name: &str,
    named_by: &'static str,
    driver: &str,
) -> Result<&'a VolumeSnapshotClass, ClassError> {
    let Some(class) = classes.iter().find(|class| class.name_any() == name) else {
        return Err(ClassError::NamedButMissing {
            class: name.to_owned(),
            named_by,
        });
    };
    if class.driver != driver {
        return Err(ClassError::NamedOfOtherDriver {
            class: name.to_owned(),
            named_by,
            its_driver: class.driver.clone(),
            driver: driver.to_owned(),
        });
    }
    Ok(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, driver: &str) -> VolumeSnapshotClass {
        let mut class = VolumeSnapshotClass {
            driver: driver.to_owned(),
            ..Default::default()
        };
        class.metadata.name = Some(name.to_owned());
        class
    }

    fn labelled(name: &str, driver: &str) -> VolumeSnapshotClass {
        let mut class = class(name, driver);
        class
            .labels_mut()
            .insert(VELERO_CLASS.to_owned(), "false".to_owned());
        class
    }

    fn default_class(name: &str, driver: &str) -> VolumeSnapshotClass {
        let mut class = class(name, driver);
        class
            .annotations_mut()
            .insert(IS_DEFAULT_CLASS.to_owned(), "true".to_owned());
        class
    }

    fn selected(classes: &[VolumeSnapshotClass], wanted: Wanted<'_>) -> Result<String, ClassError> {
        select(classes, wanted).map(ResourceExt::name_any)
    }

    #[test]
    fn the_order_is_pvc_then_backup_then_label_then_default_then_only() {
        let d = Wanted {
            driver: "d",
            ..Wanted::default()
        };
        let all = [
            class("a", "d"),
            labelled("l", "d"),
            default_class("f", "d"),
            class("o", "other"),
        ];
        let by_both = Wanted {
            named_by_pvc: Some("a"),
            named_by_backup: Some("f"),
            ..d
        };
        let by_backup = Wanted {
            named_by_backup: Some("f"),
            ..d
        };
        assert_eq!(selected(&all, by_both).unwrap(), "a");
        assert_eq!(selected(&all, by_backup).unwrap(), "f");
        assert_eq!(
            selected(&all, d).unwrap(),
            "l",
            "the label's presence counts, not its value"
        );
        assert_eq!(
            selected(&[class("a", "d"), default_class("f", "d")], d).unwrap(),
            "f"
        );
        assert_eq!(selected(&[class("a", "d"), class("o", "other")], d).unwrap(), "a");
    }

    #[test]
    fn a_named_class_that_is_missing_or_of_another_driver_fails() {
        let classes = [class("a", "d"), class("o", "other")];
        let pvc = |name| Wanted {
            driver: "d",
            named_by_pvc: Some(name),
            named_by_backup: None,
        };
        assert!(matches!(
            selected(&classes, pvc("gone")),
            Err(ClassError::NamedButMissing { .. })
        ));
        assert!(matches!(
            selected(&classes, pvc("o")),
            Err(ClassError::NamedOfOtherDriver { .. })
        ));
    }

    #[test]
    fn without_a_class_the_error_says_what_to_label() {
        let wanted = Wanted {
            driver: "disk.example.com",
            ..Wanted::default()
        };
        let none = selected(&[class("o", "other")], wanted).unwrap_err().to_string();
        assert_eq!(
            none,
            "no VolumeSnapshotClass for driver \"disk.example.com\"; create one with `driver: disk.example.com` and label it velero.io/csi-volumesnapshot-class=true"
        );
        let two = [class("b", "disk.example.com"), class("a", "disk.example.com")];
        let several = selected(&two, wanted).unwrap_err().to_string();
        assert!(
            several.contains("(a, b)") && several.contains("kubectl label volumesnapshotclass"),
            "{several}"
        );
    }
}
