//! What follows what in each story; a story with a file of its own has it there (`many.rs`).

use caravel_api::v2alpha1::DataMovementPhase;

use super::super::world::World;
use super::tale::Tale;
use super::{acts, custom, life, maintenance, mishaps, password, snapshots, volumes};
use crate::cli::failure::Outcome;

pub async fn backup_and_restore(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    acts::back_up(world, tale, "shop-1").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-1").await?;
    acts::compare(world, tale, &before).await
}

pub async fn busy(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let generations = acts::back_up_while_open(world, tale, "shop-1").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-1").await?;
    acts::one_moment(world, tale, generations).await
}

pub async fn incremental(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    acts::back_up(world, tale, "shop-1").await?;
    acts::do_business(world, tale).await?;
    let before = acts::look(world, tale).await?;
    acts::back_up(world, tale, "shop-2").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-2").await?;
    acts::compare(world, tale, &before).await
}

pub async fn csi_snapshot(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    let snapshots = snapshots::back_up(world, tale, "shop-1").await?;
    mishaps::nothing_is_left(world, tale).await?;
    acts::do_business(world, tale).await?;
    acts::lose(world, tale).await?;
    snapshots::are_kept(world, tale, &snapshots)?;
    acts::restore(world, tale, "shop-1").await?;
    acts::compare(world, tale, &before).await?;
    acts::lose(world, tale).await?;
    snapshots::are_kept(world, tale, &snapshots)?;
    snapshots::delete(world, tale, "shop-1", &snapshots).await
}

pub async fn csi_snapshot_kept(world: &World, tale: &mut Tale) -> Outcome {
    snapshots::keep_objects(world, tale).await?;
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    let snapshots = snapshots::back_up(world, tale, "shop-1").await?;
    snapshots::objects_are_there(world, tale, "shop-1").await?;
    // The namespace has the first one's VolumeSnapshot now.
    let later = snapshots::back_up(world, tale, "shop-2").await?;
    snapshots::delete(world, tale, "shop-2", &later).await?;
    snapshots::objects_are_gone(world, tale, "shop-2").await?;
    snapshots::objects_are_there(world, tale, "shop-1").await?;
    acts::do_business(world, tale).await?;
    acts::lose(world, tale).await?;
    snapshots::are_kept(world, tale, &snapshots)?;
    acts::restore(world, tale, "shop-1").await?;
    acts::compare(world, tale, &before).await?;
    snapshots::delete(world, tale, "shop-1", &snapshots).await?;
    snapshots::objects_are_gone(world, tale, "shop-1").await
}

pub async fn canceled(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    let upload = mishaps::begin_backup(world, tale, "shop-1", mishaps::A_MOMENT).await?;
    mishaps::cancel(world, tale, "shop-1", &upload).await?;
    mishaps::backup_is_not_complete(world, tale, "shop-1").await?;
    acts::back_up(world, tale, "shop-2").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-2").await?;
    acts::compare(world, tale, &before).await
}

pub async fn cancel_backup(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    mishaps::begin_backup(world, tale, "shop-1", mishaps::A_MOMENT).await?;
    life::cancel_backup(world, tale, "shop-1").await?;
    life::cannot_cancel(world, tale, "shop-1").await?;
    mishaps::nothing_is_left(world, tale).await?;
    acts::back_up(world, tale, "shop-2").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-2").await?;
    acts::compare(world, tale, &before).await
}

pub async fn schedule_and_expire(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    let backup = life::schedule(world, tale, "often", "45s").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, &backup).await?;
    acts::compare(world, tale, &before).await?;
    life::expires(world, tale, "often").await
}

pub async fn second_cluster(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    acts::back_up(world, tale, "shop-1").await?;
    let second = life::second_cluster(world, tale, "shop-1").await?;
    let restored = async {
        acts::restore(&second, tale, "shop-1").await?;
        acts::compare(&second, tale, &before).await
    };
    let restored = Box::pin(restored).await;
    if restored.is_err() {
        tale.trouble(&second).await?;
    }
    second.end().await?;
    restored
}

pub async fn node_dies(world: &World, tale: &mut Tale) -> Outcome {
    let machines = mishaps::machines(world).await?;
    let (server, lost) = (machines.server.as_str(), machines.other.as_str());
    // The application beside Velero's server, the data mover on the other node.
    mishaps::cordon(world, tale, lost, true).await?;
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    mishaps::cordon(world, tale, lost, false).await?;
    mishaps::cordon(world, tale, server, true).await?;
    mishaps::begin_backup(world, tale, "shop-1", mishaps::FOR_EVER).await?;
    mishaps::lose_node(world, tale, lost).await?;
    mishaps::upload_ends(world, tale, "shop-1", DataMovementPhase::Failed).await?;
    mishaps::backup_is_not_complete(world, tale, "shop-1").await?;
    mishaps::cordon(world, tale, server, false).await?;
    acts::back_up(world, tale, "shop-2").await?;
    mishaps::moved_elsewhere(world, tale, "shop-2", lost).await?;
    mishaps::repair_node(world, tale, lost).await?;
    mishaps::nothing_is_left(world, tale).await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-2").await?;
    acts::compare(world, tale, &before).await
}

pub async fn mover_killed(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    let upload = mishaps::begin_backup(world, tale, "shop-1", mishaps::FOR_EVER).await?;
    mishaps::kill_mover(world, tale, &upload).await?;
    mishaps::upload_ends(world, tale, "shop-1", DataMovementPhase::Failed).await?;
    mishaps::nothing_is_left(world, tale).await?;
    mishaps::backup_is_not_complete(world, tale, "shop-1").await?;
    acts::back_up(world, tale, "shop-2").await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-2").await?;
    acts::compare(world, tale, &before).await
}

pub async fn block_volume(world: &World, tale: &mut Tale) -> Outcome {
    volumes::fill(world, tale, 1, volumes::Mode::Block).await?;
    tale.step("Back it up, change it, back it up again")?;
    volumes::back_up(world, tale, "device-1").await?;
    volumes::change_devices(world, tale, 1).await?;
    let stored = world.objects.bytes();
    volumes::back_up(world, tale, "device-2").await?;
    tale.fact(&format!(
        "the bucket has grown by {}",
        indicatif::DecimalBytes(world.objects.bytes().saturating_sub(stored))
    ))?;
    let before = volumes::look(world, 1).await?;
    volumes::lose(world, tale).await?;
    volumes::restore(world, tale, "device-2").await?;
    volumes::compare(world, tale, &before).await?;
    mishaps::nothing_is_left(world, tale).await
}

pub async fn custom_mover(world: &World, tale: &mut Tale) -> Outcome {
    volumes::fill(world, tale, 1, volumes::Mode::Filesystem).await?;
    let before = volumes::look(world, 1).await?;
    let mover = custom::Mover::start(world, tale).await?;
    let played = async {
        custom::back_up(world, tale, &mover, "store-1").await?;
        custom::nobody_comes(world, tale, "store-2").await?;
        volumes::lose(world, tale).await?;
        volumes::restore(world, tale, "store-1").await?;
        custom::restored_by_it(world, tale).await?;
        volumes::compare(world, tale, &before).await
    };
    let played = Box::pin(played).await;
    mover.end(tale, played.is_ok()).await?;
    played
}

pub async fn maintained(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    acts::back_up(world, tale, "shop-1").await?;
    maintenance::asked_for(world, tale, "full").await?;
    maintenance::due(world, tale).await?;
    maintenance::fails(world, tale).await?;
    maintenance::asked_for(world, tale, "quick").await?;
    maintenance::old_jobs_go(world, tale).await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-1").await?;
    acts::compare(world, tale, &before).await
}

pub async fn change_password(world: &World, tale: &mut Tale) -> Outcome {
    acts::open_shop(world, tale).await?;
    let before = acts::look(world, tale).await?;
    acts::back_up(world, tale, "shop-1").await?;
    password::change(world, tale).await?;
    acts::lose(world, tale).await?;
    acts::restore(world, tale, "shop-1").await?;
    acts::compare(world, tale, &before).await?;
    password::delete_backup(world, tale, "shop-1").await
}
