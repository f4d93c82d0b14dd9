use super::*;

fn node(name: &str, spec: Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// A claim whose volume is made for the pod's node, perhaps chosen already.
fn waiting(chosen: Option<&str>) -> Claim {
    let mut claim = json!({"metadata": {"name": "data"}});
    if let Some(node) = chosen {
        claim["metadata"]["annotations"] = json!({SELECTED_NODE: node});
    }
    let claim = serde_json::from_value(claim).unwrap();
    Claim::OnNode(Box::new(claim), ClaimOnNode::Delayed(Vec::new()))
}

fn on(node: &str, name: &str) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": []}});
    serde_json::from_value(pod).unwrap()
}

fn decided(claims: Vec<Claim>, place: Place, placed: Vec<Pod>) -> Decision {
    let observed = Observed {
        claims,
        place,
        placed,
    };
    decide(&Pod::default(), &PodSpec::default(), observed)
}

fn both() -> [Node; 2] {
    [node("one", json!({})), node("two", json!({}))]
}

#[test]
fn a_pod_that_fits_one_node_only_goes_there() {
    let nodes = [
        node("one", json!({"unschedulable": true})),
        node("two", json!({})),
    ];
    let place = place(&PodSpec::default(), &nodes, &[]);
    assert_eq!(place, Place::On("two".to_owned()));
    let decision = decided(Vec::new(), place, Vec::new());
    assert_eq!(decision, Decision::Bind("two".to_owned()));
}

#[test]
fn of_several_nodes_the_one_with_the_fewest_pods_is_taken() {
    let place = place(&PodSpec::default(), &both(), &[]);
    assert_eq!(place, Place::OneOf(vec!["one".to_owned(), "two".to_owned()]));
    let placed = vec![on("one", "a"), on("one", "b"), on("two", "c")];
    let decision = decided(Vec::new(), place, placed);
    assert_eq!(decision, Decision::Bind("two".to_owned()));
}

#[test]
fn a_node_that_was_chosen_for_a_volume_stays_the_one() {
    let claims = vec![waiting(Some("two"))];
    let place = place(&PodSpec::default(), &both(), &claims);
    assert_eq!(place, Place::On("two".to_owned()));
    assert_eq!(decided(claims, place, Vec::new()), Decision::Wait);
}

#[test]
fn a_volume_is_made_for_the_node_first() {
    let claims = vec![waiting(None)];
    let nodes = [node("one", json!({}))];
    let place = place(&PodSpec::default(), &nodes, &claims);
    let prepare = Decision::Prepare {
        node: "one".to_owned(),
        claims: vec!["data".to_owned()],
    };
    assert_eq!(decided(claims, place, Vec::new()), prepare);
}

#[test]
fn no_node_is_looked_at_for_a_claim_that_is_missing() {
    let claims = [Claim::Missing("data".to_owned())];
    let place = place(&PodSpec::default(), &both(), &claims);
    let why = "0/2 nodes are available: persistentvolumeclaim \"data\" not found. not found";
    assert_eq!(place, Place::Nowhere(why.to_owned()));
}
