#!/usr/bin/env bash
# A data mover made of kubectl: every volume becomes a tar file in a folder, and a volume again.
#
#   MOVER_STORE=/backups ./mover.sh serve     # until the file $MOVER_STORE/stop is there
#   velero backup create b1 --snapshot-move-data --data-mover tar-files --wait
#
# It takes the DataUploads and DataDownloads whose spec.datamover is its name, and drives their status. What it must do,
# and what Velero does, is in README.md beside it. It is a sample: it looks every second instead of watching, moves one
# volume after the other, and knows Filesystem volumes only.
set -euo pipefail

NAME=${MOVER_NAME:-tar-files}
VELERO=${VELERO_NAMESPACE:-velero}
IMAGE=${MOVER_IMAGE:-busybox}
STORE=${MOVER_STORE:?say in MOVER_STORE in which folder the tar files are}

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# field KIND NAME PATH
field() { kubectl -n "$VELERO" get "$1" "$2" -o "jsonpath={$3}"; }

# status KIND NAME FIELDS: merges JSON fields into the object's status
status() { kubectl -n "$VELERO" patch "$1" "$2" --type merge -p "{\"status\":{$3}}" >/dev/null; }

canceled() { [ "$(field "$1" "$2" .spec.cancel)" = true ]; }

# pod NAMESPACE NAME: a pod with the claim of the same name at /data
pod() {
    kubectl -n "$1" apply -f - >/dev/null <<YAML
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$2"}, "spec": {
  "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
  "containers": [{"name": "tar", "image": "$IMAGE", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "86400"],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
  "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "$2"}}]}}
YAML
    kubectl -n "$1" wait --for=condition=Ready "pod/$2" --timeout=300s >/dev/null
}

# claim NAMESPACE NAME CLASS SIZE [SNAPSHOT]
claim() {
    local source=""
    [ -z "${5:-}" ] || source=", \"dataSource\": {\"apiGroup\": \"snapshot.storage.k8s.io\", \"kind\": \"VolumeSnapshot\", \"name\": \"$5\"}"
    kubectl -n "$1" apply -f - >/dev/null <<YAML
{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "$2"}, "spec": {
  "accessModes": ["ReadWriteOnce"], "storageClassName": "$3", "resources": {"requests": {"storage": "$4"}}$source}}
YAML
}

remove() { kubectl -n "$1" delete --ignore-not-found --wait "pod/$2" "pvc/$2" >/dev/null; }

# upload DATAUPLOAD: snapshot → volume → tar file; the snapshot is ours to delete
upload() {
    local du=$1 namespace snapshot class size file tar
    namespace=$(field dataupload "$du" .spec.sourceNamespace)
    snapshot=$(field dataupload "$du" .spec.csiSnapshot.volumeSnapshot)
    class=$(field dataupload "$du" .spec.csiSnapshot.storageClass)
    file="$STORE/$du.tar"
    if ! canceled dataupload "$du"; then
        status dataupload "$du" "\"phase\":\"InProgress\",\"node\":\"$NAME\",\"startTimestamp\":\"$(now)\""
        kubectl -n "$namespace" wait "--for=jsonpath={.status.readyToUse}=true" "volumesnapshot/$snapshot" --timeout=300s >/dev/null
        size=$(kubectl -n "$namespace" get volumesnapshot "$snapshot" -o 'jsonpath={.status.restoreSize}')
        claim "$namespace" "$du" "$class" "$size" "$snapshot"
        pod "$namespace" "$du"
        kubectl -n "$namespace" exec "$du" -- tar cf - -C /data . >"$file.part" &
        tar=$!
        while kill -0 $tar 2>/dev/null; do
            if canceled dataupload "$du"; then kill $tar; fi
            sleep 0.5
        done
    fi
    if ! canceled dataupload "$du"; then
        wait $tar
        mv "$file.part" "$file"
    fi
    # Before the last phase is said: a backup that begins right after it would take our claim for one of the application's.
    remove "$namespace" "$du"
    kubectl -n "$namespace" delete --ignore-not-found "volumesnapshot/$snapshot" >/dev/null
    if canceled dataupload "$du"; then
        rm -f "$file.part" "$file"
        status dataupload "$du" "\"phase\":\"Canceled\",\"message\":\"canceled by request\",\"completionTimestamp\":\"$(now)\""
    else
        size=$(stat -c %s "$file")
        status dataupload "$du" "\"phase\":\"Completed\",\"snapshotID\":\"$du\",\"path\":\"/data\",\"progress\":{\"totalBytes\":$size,\"bytesDone\":$size},\"incrementalBytes\":$size,\"completionTimestamp\":\"$(now)\""
    fi
}

# download DATADOWNLOAD: tar file → a volume of ours → the claim that waits for it
download() {
    local dd=$1 namespace target file class size label volume policy
    namespace=$(field datadownload "$dd" .spec.targetVolume.namespace)
    target=$(field datadownload "$dd" .spec.targetVolume.pvc)
    file="$STORE/$(field datadownload "$dd" .spec.snapshotID).tar"
    if canceled datadownload "$dd"; then
        status datadownload "$dd" "\"phase\":\"Canceled\",\"message\":\"canceled by request\",\"completionTimestamp\":\"$(now)\""
        return
    fi
    status datadownload "$dd" "\"phase\":\"InProgress\",\"node\":\"$NAME\",\"startTimestamp\":\"$(now)\""
    of_target() { kubectl -n "$namespace" get pvc "$target" -o "jsonpath={$1}"; }
    class=$(of_target .spec.storageClassName)
    size=$(of_target .spec.resources.requests.storage)
    # Velero's selector keeps the claim waiting; the volume that carries the label is for it.
    label=$(of_target '.spec.selector.matchLabels.velero\.io/dynamic-pv-restore')
    claim "$VELERO" "$dd" "$class" "$size"
    pod "$VELERO" "$dd"
    kubectl -n "$VELERO" exec -i "$dd" -- tar xf - -C /data <"$file"

    volume=$(kubectl -n "$VELERO" get pvc "$dd" -o 'jsonpath={.spec.volumeName}')
    policy=$(kubectl get pv "$volume" -o 'jsonpath={.spec.persistentVolumeReclaimPolicy}')
    kubectl patch pv "$volume" --type merge -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}' >/dev/null
    remove "$VELERO" "$dd"
    kubectl patch pv "$volume" --type merge -p "{\"metadata\":{\"labels\":{\"velero.io/dynamic-pv-restore\":\"$label\"},\"annotations\":{\"pv.kubernetes.io/bound-by-controller\":null}},\"spec\":{\"claimRef\":{\"kind\":\"PersistentVolumeClaim\",\"namespace\":\"$namespace\",\"name\":\"$target\",\"uid\":null,\"resourceVersion\":null}}}" >/dev/null
    kubectl -n "$namespace" patch pvc "$target" --type merge -p "{\"spec\":{\"volumeName\":\"$volume\"}}" >/dev/null
    kubectl -n "$namespace" wait "--for=jsonpath={.status.phase}=Bound" "pvc/$target" --timeout=300s >/dev/null
    kubectl patch pv "$volume" --type merge -p "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"$policy\"}}" >/dev/null
    size=$(stat -c %s "$file")
    status datadownload "$dd" "\"phase\":\"Completed\",\"progress\":{\"totalBytes\":$size,\"bytesDone\":$size},\"completionTimestamp\":\"$(now)\""
}

# ours KIND: names of those that are New and for us
ours() {
    kubectl -n "$VELERO" get "$1" -o "jsonpath={range .items[?(@.spec.datamover=='$NAME')]}{.metadata.name} {.status.phase}{'\n'}{end}" |
        while read -r name phase; do
            case "$phase" in "" | New) echo "$name" ;; esac
        done
}

# take VERB KIND NAME: a process of its own, so that whatever fails in it is the object's failure and not ours
take() {
    echo "$(now) $1 $3"
    if ! "$BASH" "$0" "$1" "$3"; then
        status "$2" "$3" "\"phase\":\"Failed\",\"message\":\"data mover $NAME: $1 failed, see its log\",\"completionTimestamp\":\"$(now)\""
    fi
}

serve() {
    mkdir -p "$STORE"
    while [ ! -e "$STORE/stop" ]; do
        for name in $(ours datauploads); do take upload dataupload "$name"; done
        for name in $(ours datadownloads); do take download datadownload "$name"; done
        sleep 1
    done
}

"${1:?serve, upload NAME or download NAME}" "${@:2}"
