//! Runs with what belongs together, and without a node agent.

use async_trait::async_trait;
use caravel_api::labels;
use caravel_item_action::{ActionError, BackupItemOutput, ResourceSelector};
use serde_json::json;

use super::tests::{
    Api, Noted, SNAPSHOT_API, backed_up_as, client, discovered, frozen_shop, request, run_to_its_end,
};
use super::*;
use crate::cluster::name;

/// A pod belongs with the Secret `till`, and that one with the Secret `hidden`, which is left out of backups.
struct Till;

#[async_trait]
impl ItemBlockAction for Till {
    fn name(&self) -> &str {
        "example.com/till"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["pods", "secrets"])
    }

    async fn related_items(&self, item: &Value, _: &Backup) -> Result<Vec<ResourceIdentifier>, ActionError> {
        let secret = |name: &str| ResourceIdentifier::new("", "secrets", "shop", name);
        Ok(match name(item) {
            "till" => vec![secret("hidden")],
            _ => vec![secret("till"), secret("missing")],
        })
    }
}

/// Notes when a Secret is looked at.
struct Looked(Arc<Api>);

#[async_trait]
impl BackupItemAction for Looked {
    fn name(&self) -> &str {
        "example.com/looked"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["secrets"])
    }

    async fn execute(&self, item: Value, _: &Backup) -> Result<BackupItemOutput, ActionError> {
        let looked = format!("LOOK {}", name(&item));
        self.0.requests.lock().unwrap().push(looked);
        Ok(BackupItemOutput::item(item))
    }
}

#[tokio::test]
async fn what_belongs_with_a_frozen_pod_is_saved_before_it_is_thawed() {
    let mut api = frozen_shop();
    let secret = |name: &str, labels: Value| {
        let path = format!("/api/v1/namespaces/shop/secrets/{name}");
        let metadata = json!({"name": name, "namespace": "shop", "labels": labels});
        (
            path,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}),
        )
    };
    let secrets = [
        secret("till", json!({})),
        secret("hidden", json!({labels::EXCLUDE_FROM_BACKUP: "true"})),
    ];
    api.objects.extend(secrets);
    let api = Arc::new(api);
    let noted = Arc::new(Noted {
        api: Arc::clone(&api),
        may_owe: true,
    });
    let looked = Arc::new(Looked(Arc::clone(&api)));
    let client = client(&api);
    let (outcome, entries, errors) = run_to_its_end(|folder, log| {
        let mut request = request(client, discovered(false), true, noted, folder, log);
        request.item_block_actions = vec![Arc::new(Till) as Arc<dyn ItemBlockAction>];
        request.actions.push(looked);
        request
    })
    .await;
    assert_eq!(errors, 0);
    assert_eq!(outcome.resource_list["v1/Secret"], ["shop/till"], "{entries:?}");
    let requests = api.requests.lock().unwrap().clone();
    let at = |wanted: &str| {
        let found: Vec<usize> = (0..requests.len()).filter(|at| requests[*at] == wanted).collect();
        assert_eq!(found.len(), 1, "{wanted}: {requests:?}");
        found[0]
    };
    let order = ["EXEC freeze", "LOOK till", "EXEC thaw"].map(at);
    assert!(order.is_sorted(), "{requests:?}");
    assert!(!requests.iter().any(|request| request == "LOOK hidden"));
}

#[tokio::test]
async fn a_volume_that_no_node_agent_would_move_is_an_error_and_no_snapshot_is_taken() {
    let mut api = Api::shop();
    api.objects.retain(|path, _| !path.contains("/daemonsets/"));
    let api = Arc::new(api);
    let (outcome, entries, errors) = backed_up_as(&api, true, true).await;
    assert_eq!((errors, outcome.operations.len()), (1, 0));
    assert!(
        !entries
            .iter()
            .any(|entry| entry.contains("persistentvolumeclaims")),
        "{entries:?}"
    );
    let snapshot = format!("POST {SNAPSHOT_API}/namespaces/shop/volumesnapshots");
    assert!(!api.asked_for(&snapshot));
}
