//! Every command and flag that Velero 1.18 has, read from its help texts, so that `not_yet.rs` can tell "not in this
//! version yet" from "unknown". A line leaves nobody: what is implemented stays here too.

/// Command path, then its flags.
pub const COMMANDS: &[(&str, &str)] = &[
    ("backup", ""),
    (
        "backup create",
        "--annotations --csi-snapshot-timeout --data-mover --default-volumes-to-fs-backup --exclude-cluster-scoped-resources --exclude-namespace-scoped-resources --exclude-namespaces --exclude-resources --from-schedule --include-cluster-resources --include-cluster-scoped-resources --include-namespace-scoped-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --or-selector --ordered-resources -o --output --parallel-files-upload --resource-policies-configmap -l --selector --show-labels --snapshot-move-data --snapshot-volumes --storage-location --ttl --volume-snapshot-locations -w --wait",
    ),
    ("backup delete", "--all --confirm -l --selector"),
    (
        "backup describe",
        "--cacert --details --insecure-skip-tls-verify -o --output -l --selector",
    ),
    (
        "backup download",
        "--cacert --force --insecure-skip-tls-verify -o --output --timeout",
    ),
    (
        "backup get",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("backup logs", "--cacert --insecure-skip-tls-verify --timeout"),
    ("backup-location", ""),
    (
        "backup-location create",
        "--access-mode --backup-sync-period --bucket --cacert --config --credential --default -L --label-columns --labels -o --output --prefix --provider --show-labels --validation-frequency",
    ),
    ("backup-location delete", "--all --confirm -l --selector"),
    (
        "backup-location get",
        "--default -L --label-columns -o --output -l --selector --show-labels",
    ),
    ("backup-location set", "--cacert --credential --default"),
    ("bug", ""),
    ("client", ""),
    ("client config", ""),
    ("client config get", ""),
    ("client config set", ""),
    ("completion", ""),
    ("create", ""),
    (
        "create backup",
        "--annotations --csi-snapshot-timeout --data-mover --default-volumes-to-fs-backup --exclude-cluster-scoped-resources --exclude-namespace-scoped-resources --exclude-namespaces --exclude-resources --from-schedule --include-cluster-resources --include-cluster-scoped-resources --include-namespace-scoped-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --or-selector --ordered-resources -o --output --parallel-files-upload --resource-policies-configmap -l --selector --show-labels --snapshot-move-data --snapshot-volumes --storage-location --ttl --volume-snapshot-locations -w --wait",
    ),
    (
        "create backup-location",
        "--access-mode --backup-sync-period --bucket --cacert --config --credential --default -L --label-columns --labels -o --output --prefix --provider --show-labels --validation-frequency",
    ),
    (
        "create restore",
        "--allow-partially-failed --annotations --exclude-namespaces --exclude-resources --existing-resource-policy --from-backup --from-schedule --include-cluster-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --namespace-mappings --or-selector -o --output --parallel-files-download --preserve-nodeports --resource-modifier-configmap --resource-policies-configmap --restore-volumes -l --selector --show-labels --status-exclude-resources --status-include-resources -w --wait --write-sparse-files",
    ),
    (
        "create schedule",
        "--annotations --csi-snapshot-timeout --data-mover --default-volumes-to-fs-backup --exclude-cluster-scoped-resources --exclude-namespace-scoped-resources --exclude-namespaces --exclude-resources --include-cluster-resources --include-cluster-scoped-resources --include-namespace-scoped-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --or-selector --ordered-resources -o --output --parallel-files-upload --paused --resource-policies-configmap --schedule -l --selector --show-labels --skip-immediately --snapshot-move-data --snapshot-volumes --storage-location --ttl --use-owner-references-in-backup --volume-snapshot-locations",
    ),
    (
        "create snapshot-location",
        "--config --credential -L --label-columns --labels -o --output --provider --show-labels",
    ),
    ("debug", "--backup --output --restore --verbose"),
    ("delete", ""),
    ("delete backup", "--all --confirm -l --selector"),
    ("delete backup-location", "--all --confirm -l --selector"),
    ("delete restore", "--all --confirm -l --selector"),
    ("delete schedule", "--all --confirm -l --selector"),
    ("describe", ""),
    (
        "describe backups",
        "--cacert --details --insecure-skip-tls-verify -o --output -l --selector",
    ),
    (
        "describe restores",
        "--cacert --details --insecure-skip-tls-verify -l --selector",
    ),
    ("describe schedules", "-l --selector"),
    ("get", ""),
    (
        "get backup-locations",
        "--default -L --label-columns -o --output -l --selector --show-labels",
    ),
    (
        "get backups",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("get plugins", "-o --output --timeout"),
    (
        "get restores",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    (
        "get schedules",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    (
        "get snapshot-locations",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    (
        "install",
        "--apply --backup-location-config --backup-repository-configmap --bucket --cacert --concurrent-backups --crds-only --csi-snapshot-early-frequent-polling --default-repo-maintain-frequency --default-snapshot-move-data --default-volumes-to-fs-backup --disable-informer-cache --dry-run --features --garbage-collection-frequency --image --item-block-worker-count --keep-latest-maintenance-jobs --kubelet-root-dir -L --label-columns --maintenance-job-cpu-limit --maintenance-job-cpu-request --maintenance-job-mem-limit --maintenance-job-mem-request --no-default-backup-location --no-secret --node-agent-configmap --node-agent-disable-host-path --node-agent-pod-cpu-limit --node-agent-pod-cpu-request --node-agent-pod-mem-limit --node-agent-pod-mem-request --node-agent-priority-class-name -o --output --plugins --pod-annotations --pod-labels --pod-volume-operation-timeout --prefix --privileged-node-agent --provider --repo-maintenance-job-configmap --restore-only --sa-annotations --schedule-skip-immediately --secret-file --server-priority-class-name --service-account-name --show-labels --snapshot-location-config --uploader-type --use-node-agent --use-node-agent-windows --use-volume-snapshots --velero-pod-cpu-limit --velero-pod-cpu-request --velero-pod-mem-limit --velero-pod-mem-request --wait",
    ),
    ("plugin", ""),
    ("plugin add", "--confirm --image-pull-policy"),
    ("plugin get", "-o --output --timeout"),
    ("plugin remove", ""),
    ("repo", ""),
    (
        "repo get",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("restore", ""),
    (
        "restore create",
        "--allow-partially-failed --annotations --exclude-namespaces --exclude-resources --existing-resource-policy --from-backup --from-schedule --include-cluster-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --namespace-mappings --or-selector -o --output --parallel-files-download --preserve-nodeports --resource-modifier-configmap --resource-policies-configmap --restore-volumes -l --selector --show-labels --status-exclude-resources --status-include-resources -w --wait --write-sparse-files",
    ),
    ("restore delete", "--all --confirm -l --selector"),
    (
        "restore describe",
        "--cacert --details --insecure-skip-tls-verify -l --selector",
    ),
    (
        "restore get",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("restore logs", "--cacert --insecure-skip-tls-verify --timeout"),
    ("schedule", ""),
    (
        "schedule create",
        "--annotations --csi-snapshot-timeout --data-mover --default-volumes-to-fs-backup --exclude-cluster-scoped-resources --exclude-namespace-scoped-resources --exclude-namespaces --exclude-resources --include-cluster-resources --include-cluster-scoped-resources --include-namespace-scoped-resources --include-namespaces --include-resources --item-operation-timeout -L --label-columns --labels --or-selector --ordered-resources -o --output --parallel-files-upload --paused --resource-policies-configmap --schedule -l --selector --show-labels --skip-immediately --snapshot-move-data --snapshot-volumes --storage-location --ttl --use-owner-references-in-backup --volume-snapshot-locations",
    ),
    ("schedule delete", "--all --confirm -l --selector"),
    ("schedule describe", "-l --selector"),
    (
        "schedule get",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("schedule pause", "--all -l --selector --skip-immediately"),
    ("schedule unpause", "--all -l --selector --skip-immediately"),
    ("snapshot-location", ""),
    (
        "snapshot-location create",
        "--config --credential -L --label-columns --labels -o --output --provider --show-labels",
    ),
    (
        "snapshot-location get",
        "-L --label-columns -o --output -l --selector --show-labels",
    ),
    ("snapshot-location set", "--credential"),
    ("uninstall", "--force --wait"),
    ("version", "--client-only --timeout"),
];

/// Flags that every command has.
pub const GLOBAL_FLAGS: &str = "--add_dir_header --alsologtostderr --alsologtostderrthreshold --colorized --features --kubeconfig --kubecontext --legacy_stderr_threshold_behavior --log_backtrace_at --log_dir --log_file --log_file_max_size --logtostderr -n --namespace --one_output --skip_headers --skip_log_headers --stderrthreshold -v --v --vmodule";

/// Other spellings of a verb's object: `velero get backups` is `velero get backup`.
pub const ALIASES: &[(&str, &str)] = &[
    ("backup", "backups"),
    ("restore", "restores"),
    ("schedule", "schedules"),
    ("backup-location", "backup-locations"),
    ("snapshot-location", "snapshot-locations"),
    ("plugin", "plugins"),
];
