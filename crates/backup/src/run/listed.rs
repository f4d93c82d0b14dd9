//! The listed items, in the order that keeps their data together: what the user ordered, one after the other; claims without a
//! pod, all at once; item blocks, some at once; then all that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use caravel_item_action::ResourceIdentifier;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::blocks::{self, BLOCKS_AT_ONCE, Block, Members};
use super::prepare::{Failure, prepare};
use super::relate::Related;
use super::{Run, RunError, about, is_claim};
use crate::collect::{Collected, Items};
use crate::log::About;

impl Run {
    pub(super) async fn items(&mut self, items: &Items, related: &Related) -> Result<(), RunError> {
        self.add_to_total(items.list.len());
        let named = items
            .list
            .iter()
            .filter_map(|item| Some((item.id.as_deref()?, item)));
        let is_looked_for =
            |id: &ResourceIdentifier, item: &Collected| item.hooked || is_claim(id) || related.contains(id);
        let listed: Listed<'_> = named.filter(|(id, item)| is_looked_for(id, item)).collect();
        let mut blocks = blocks_of(items, related)?;
        for item in items.list.iter().filter(|item| item.ordered) {
            let (id, value) = items.named(item)?;
            let holds = |block: &Members| block.pods.contains(&id) || block.items.contains(&id);
            if let Some(at) = blocks.iter().position(holds) {
                self.start_block(blocks.remove(at), items, &listed).await?;
                self.end_block().await?;
                self.claims().await?;
            }
            if self.seen.insert(&id) {
                self.item(id, value).await?;
                // What it brought along, too: the next one is not begun before.
                self.claims().await?;
            }
        }
        let in_blocks: BTreeSet<&ResourceIdentifier> = blocks
            .iter()
            .flat_map(|block| block.items.iter().chain(&block.pods))
            .collect();
        let alone = |id: &ResourceIdentifier| is_claim(id) && !in_blocks.contains(id);
        for (id, item) in listed.iter().filter(|(id, _)| alone(id)) {
            if self.seen.insert(id) {
                self.start_claim((*id).clone(), items.read(item)?);
            }
        }
        drop(in_blocks);
        for block in blocks {
            if self.blocks.len() >= BLOCKS_AT_ONCE {
                self.end_block().await?;
            }
            self.start_block(block, items, &listed).await?;
        }
        while !self.blocks.is_empty() {
            self.end_block().await?;
        }
        for item in &items.list {
            let (id, value) = items.named(item)?;
            if self.seen.insert(&id) {
                self.item(id, value).await?;
            }
        }
        Ok(())
    }

    async fn start_block(
        &mut self,
        members: Members,
        items: &Items,
        listed: &Listed<'_>,
    ) -> Result<(), RunError> {
        let mut block = Block {
            pods: Vec::new(),
            items: Vec::new(),
        };
        for (id, item) in members.pods.iter().filter_map(|id| listed.get_key_value(id)) {
            if self.seen.insert(id) {
                block.pods.push(((*id).clone(), items.read(item)?));
            }
        }
        for id in members.items {
            if !self.seen.insert(&id) {
                continue;
            }
            // A claim that is not selected comes with its pod, if it may.
            let item = match listed.get(&id) {
                Some(item) => Some(items.read(item)?),
                None => self.fetch(&id, false).await.inspect(|_| self.add_to_total(1)),
            };
            block.items.extend(item.map(|item| (id, item)));
        }
        let (request, snapshots) = (Arc::clone(&self.request), Arc::clone(&self.snapshots));
        let (stop, stopped) = oneshot::channel();
        let work = blocks::run(request, snapshots, block, stopped).in_current_span();
        self.blocks.push_back((tokio::spawn(work), stop));
        Ok(())
    }

    /// Waits for the block that was started first, and writes what it holds.
    async fn end_block(&mut self) -> Result<(), RunError> {
        // Held until it has ended.
        let Some((block, _stop)) = self.blocks.pop_front() else {
            return Ok(());
        };
        let ended = match block.await {
            Ok(ended) => ended,
            Err(join) => {
                let why = format!("the item block of a pod with hooks ended abnormally: {join}");
                self.request
                    .log
                    .error(About::default(), "Error executing hook", why);
                return Ok(());
            }
        };
        for (id, prepared) in ended.items {
            self.settle(id, prepared).await?;
        }
        for (id, pod) in ended.pods {
            if ended.failed.contains(&id) {
                let why = "its pre-hook failed, and says onError: Fail";
                self.request
                    .log
                    .error(about("pods", &id), "Error backing up item", why);
            } else {
                self.item(id, pod).await?;
            }
        }
        Ok(())
    }

    pub(super) fn start_claim(&mut self, id: ResourceIdentifier, item: Value) {
        let (request, snapshots) = (Arc::clone(&self.request), Arc::clone(&self.snapshots));
        let own_id = id.clone();
        let prepared = async move {
            // The semaphore is never closed.
            let _place = snapshots.acquire_owned().await;
            prepare(&request, &own_id, item).await
        };
        let work = tokio::spawn(prepared.in_current_span());
        self.claims.push_back((id, AbortOnDropHandle::new(work)));
    }

    pub(super) async fn claims(&mut self) -> Result<(), RunError> {
        while let Some((id, work)) = self.claims.pop_front() {
            let prepared = match work.await {
                Ok(prepared) => prepared,
                Err(join) => Err(Failure::ended(&join)),
            };
            self.settle(id, prepared).await?;
        }
        Ok(())
    }
}

/// Claims, pods with hooks and what belongs with others, by name.
type Listed<'a> = BTreeMap<&'a ResourceIdentifier, &'a Collected>;

/// The blocks of the pods with hooks. Items that belong together without such a pod need no block: nothing is frozen.
fn blocks_of(items: &Items, related: &Related) -> Result<Vec<Members>, RunError> {
    let hooked = items.list.iter().filter(|item| item.hooked);
    let pods: io::Result<Vec<_>> = hooked
        .map(|item| {
            let (id, pod) = items.named(item)?;
            let mut with: Vec<ResourceIdentifier> = blocks::claims(&pod).collect();
            let others: Vec<ResourceIdentifier> = with
                .iter()
                .chain([&id])
                .flat_map(|one| related.of(one))
                .cloned()
                .collect();
            with.extend(others);
            Ok((id, with))
        })
        .collect();
    Ok(blocks::blocks(pods?))
}
