//! An object of the backup by name.

use caravel_item_action::ResourceIdentifier;

use crate::group_resource::GroupResource;

/// An object by name; `namespace` is the one in the backup, empty for cluster scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemName {
    /// Which resource.
    pub group_resource: GroupResource,
    /// In the backup.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<ResourceIdentifier> for ItemName {
    fn from(id: ResourceIdentifier) -> Self {
        Self {
            group_resource: GroupResource::new(id.group, id.resource),
            namespace: id.namespace,
            name: id.name,
        }
    }
}

impl ItemName {
    /// As item actions and the operations file name it.
    pub fn identifier(&self) -> ResourceIdentifier {
        let resource = &self.group_resource;
        ResourceIdentifier::new(&resource.group, &resource.resource, &self.namespace, &self.name)
    }
}
