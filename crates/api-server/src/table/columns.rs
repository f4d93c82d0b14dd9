//! The columns of built-in kinds. `Name:type` or `Name` (string); `+` at the end: only with `-o wide`.

use jiff::Timestamp;
use serde_json::Value;

use super::{Cells, cluster, definition, pod, storage, workload};

pub(super) const POD: &str = "Name|Ready|Status|Restarts|Age|IP+|Node+|Nominated Node+|Readiness Gates+";

/// Fills the cells of one object, as of now.
pub(super) type Fill = fn(&Value, Timestamp) -> Cells;

/// The columns of a kind and what fills them.
pub(super) fn of(group: &str, kind: &str) -> Option<(&'static str, Fill)> {
    const BINDING: &str = "Name|Role|Age|Users+|Groups+|ServiceAccounts+";
    Some(match (group, kind) {
        ("", "Pod") => (POD, pod::pod),
        ("", "PersistentVolumeClaim") => (
            "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode+",
            storage::claim,
        ),
        ("", "PersistentVolume") => (
            "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|\
             VolumeMode+",
            storage::volume,
        ),
        ("storage.k8s.io", "StorageClass") => (
            "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age",
            storage::class,
        ),
        ("storage.k8s.io", "CSIDriver") => (
            "Name|AttachRequired:boolean|PodInfoOnMount:boolean|StorageCapacity:boolean|TokenRequests|\
             RequiresRepublish:boolean|Modes|Age",
            storage::driver,
        ),
        ("storage.k8s.io", "CSINode") => ("Name|Drivers:integer|Age", storage::csi_node),
        ("storage.k8s.io", "VolumeAttachment") => {
            ("Name|Attacher|PV|Node|Attached:boolean|Age", storage::attachment)
        }
        ("apps", "Deployment") => (
            "Name|Ready|Up-to-date|Available|Age|Containers+|Images+|Selector+",
            workload::deployment,
        ),
        ("apps", "ReplicaSet") => (
            "Name|Desired:integer|Current:integer|Ready:integer|Age|Containers+|Images+|Selector+",
            workload::replica_set,
        ),
        ("apps", "StatefulSet") => ("Name|Ready|Age|Containers+|Images+", workload::stateful_set),
        ("apps", "DaemonSet") => (
            "Name|Desired:integer|Current:integer|Ready:integer|Up-to-date:integer|Available:integer|Node Selector|\
             Age|Containers+|Images+|Selector+",
            workload::daemon_set,
        ),
        ("apps", "ControllerRevision") => ("Name|Controller|Revision|Age", workload::revision),
        ("batch", "Job") => (
            "Name|Status|Completions|Duration|Age|Containers+|Images+|Selector+",
            workload::job,
        ),
        ("batch", "CronJob") => (
            "Name|Schedule|Timezone|Suspend:boolean|Active:integer|Last Schedule|Age|Containers+|Images+|Selector+",
            workload::cron_job,
        ),
        ("policy", "PodDisruptionBudget") => (
            "Name|Min Available|Max Unavailable|Allowed Disruptions:integer|Age",
            workload::disruption_budget,
        ),
        ("", "Namespace") => ("Name|Status|Age", cluster::namespace),
        ("", "Node") => (
            "Name|Status|Roles|Age|Version|Internal-IP+|External-IP+|OS-Image+|Kernel-Version+|Container-Runtime+",
            cluster::node,
        ),
        ("", "Service") => (
            "Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector+",
            cluster::service,
        ),
        ("", "Endpoints") => ("Name|Endpoints|Age", cluster::endpoints),
        ("discovery.k8s.io", "EndpointSlice") => {
            ("Name|AddressType|Ports|Endpoints|Age", cluster::endpoint_slice)
        }
        ("", "Secret") => ("Name|Type|Data|Age", cluster::secret),
        ("", "ConfigMap") => ("Name|Data|Age", cluster::config_map),
        ("", "ServiceAccount") => ("Name|Secrets|Age", cluster::service_account),
        ("" | "events.k8s.io", "Event") => (
            "Last Seen|Type|Reason|Object|Subobject+|Source+|Message|First Seen+|Count+|Name+",
            cluster::event,
        ),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => (BINDING, cluster::binding),
        ("coordination.k8s.io", "Lease") => ("Name|Holder|Age", cluster::lease),
        ("scheduling.k8s.io", "PriorityClass") => (
            "Name|Value:integer|Global-Default:boolean|Age|PreemptionPolicy",
            cluster::priority_class,
        ),
        _ => return None,
    })
}

/// The columns as the Table defines them.
pub(super) fn definitions(columns: &str) -> Vec<Value> {
    columns
        .split('|')
        .map(|column| {
            let (column, priority) = match column.strip_suffix('+') {
                Some(column) => (column, 1),
                None => (column, 0),
            };
            let (name, kind) = column.split_once(':').unwrap_or((column, "string"));
            let format = if name == "Name" { "name" } else { "" };
            definition(name, kind, format, "", priority)
        })
        .collect()
}
