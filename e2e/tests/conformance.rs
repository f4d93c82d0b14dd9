//! Kubernetes answers as the checks of `e2e/conformance/` say. The sandbox answers the same checks (`cargo test -p
//! caravel-sandbox --test conformance`), so what it promises is what a real cluster does.
//!
//! `CONFORMANCE=watch,apply::force` runs only the checks whose names hold one of these words.

use anyhow::Result;
use caravel_conformance::{Filter, World, run};
use caravel_e2e::facts::Facts;

#[test]
fn a_real_cluster_passes_the_checks_that_the_sandbox_is_held_to() -> Result<()> {
    let facts = Facts::read()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut world = World::of_kubeconfig(&facts.kubeconfig).await?;
        world.controllers = true;
        world.nodes = true;
        world.storage_class = Some(facts.storage_class);
        world.storage_class_waiting = facts.storage_class_waiting;
        world.snapshot_class = Some(facts.snapshot_class);
        world.image = facts.application_image;
        run(&world, &Filter::from_environment()).await?.must_pass()
    })
}
