//! `sandbox demo`: the stories, and how one is played. In which order things
//! happen in them is `plots.rs`, what happens `acts.rs` and its neighbours, how it is told `tale.rs`.
//!
//! A story ends well only when what came back is, byte for byte, what was there; then the exit code is 0.

mod acts;
mod custom;
mod life;
mod maintenance;
mod many;
mod mishaps;
mod password;
mod plots;
mod snapshots;
mod tale;
mod volumes;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use self::tale::Tale;
use super::folder::Folder;
use super::shop::Size;
use super::world::World;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::emit;

/// Play a story in a sandbox: an application with data, its backup, its loss, and everything back.
///
/// The exit code is 0 only when what was restored is byte for byte what was lost.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which one; see --list.
    #[arg(long, value_name = "NAME", default_value = "backup-and-restore")]
    story: String,
    /// List the stories instead.
    #[arg(long)]
    list: bool,
    /// Files of the application's volume.
    #[arg(long, hide = true, default_value_t = Size::STORY.pages)]
    pages: usize,
    /// Volumes of the story `many-volumes`; 200 on 20 nodes take minutes and some gigabytes of memory.
    #[arg(long, value_name = "N", default_value_t = 24)]
    volumes: usize,
    /// Nodes of the cluster [default: what the story needs].
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// Change one byte of what came back, for the test that this is noticed.
    #[arg(long, hide = true)]
    spoil: bool,
}

/// A story that takes longer hangs somewhere; the optimised build takes less than ten seconds.
const LONGEST: Duration = Duration::from_secs(180);
/// What each of many volumes may add.
const LONGEST_PER_VOLUME: Duration = Duration::from_secs(10);

/// One story.
struct Story {
    name: &'static str,
    says: &'static str,
    nodes: usize,
    play: for<'a> fn(&'a World, &'a mut Tale) -> LocalBoxFuture<'a, Outcome>,
}

/// All of them. A new capability adds its own here.
const STORIES: &[Story] = &[
    Story {
        name: "backup-and-restore",
        says: "An application with 210 MB is backed up, its data moved to object storage; it is destroyed, and all of it \
               comes back.",
        nodes: 1,
        play: |world, tale| plots::backup_and_restore(world, tale).boxed_local(),
    },
    Story {
        name: "busy",
        says: "The application writes all the time while it is backed up; what comes back is one moment of it, whole.",
        nodes: 1,
        play: |world, tale| plots::busy(world, tale).boxed_local(),
    },
    Story {
        name: "incremental",
        says: "The application goes on after its first backup; the second one moves only what has changed, and \
               everything comes back from it.",
        nodes: 1,
        play: |world, tale| plots::incremental(world, tale).boxed_local(),
    },
    Story {
        name: "csi-snapshot",
        says: "The snapshot stays in the storage, and nothing of it in the cluster: it outlives the application's namespace, \
               everything comes back from it, and it goes with its backup.",
        nodes: 1,
        play: |world, tale| plots::csi_snapshot(world, tale).boxed_local(),
    },
    Story {
        name: "csi-snapshot-kept",
        says: "The same with the server's --csi-snapshot-objects=keep: VolumeSnapshot and content stay in the cluster, are in no \
               other backup, are in no restore's way, and go with their backup.",
        nodes: 1,
        play: |world, tale| plots::csi_snapshot_kept(world, tale).boxed_local(),
    },
    Story {
        name: "cancel",
        says: "A backup is canceled while its data moves: it says so, leaves nothing behind, and the next one is whole.",
        nodes: 1,
        play: |world, tale| plots::canceled(world, tale).boxed_local(),
    },
    Story {
        name: "cancel-backup",
        says: "A backup is canceled by command while its data moves: it stops within seconds, says who and when, leaves \
               nothing behind, and the next one is whole.",
        nodes: 1,
        play: |world, tale| plots::cancel_backup(world, tale).boxed_local(),
    },
    Story {
        name: "schedule-and-expire",
        says: "A schedule makes a backup, the application is lost and comes back from it, and when the backup's time is \
               over it goes by itself.",
        nodes: 1,
        play: |world, tale| plots::schedule_and_expire(world, tale).boxed_local(),
    },
    Story {
        name: "second-cluster",
        says: "Another cluster with the same bucket sees the backup by itself, and the application comes up there.",
        nodes: 1,
        play: |world, tale| plots::second_cluster(world, tale).boxed_local(),
    },
    Story {
        name: "node-dies",
        says: "The machine whose data mover is at work dies: the backup says what it could not save, and the next one \
               goes over the other node.",
        nodes: 2,
        play: |world, tale| plots::node_dies(world, tale).boxed_local(),
    },
    Story {
        name: "mover-killed",
        says: "The data mover is killed by its machine in the middle: the backup says with what reason, nothing is left, and \
               the next one is whole.",
        nodes: 1,
        play: |world, tale| plots::mover_killed(world, tale).boxed_local(),
    },
    Story {
        name: "block-volume",
        says: "A volume that is a device is backed up twice, lost, and comes back with every byte and every hole.",
        nodes: 1,
        play: |world, tale| plots::block_volume(world, tale).boxed_local(),
    },
    Story {
        name: "custom-mover",
        says: "Somebody else's data mover, a script with kubectl, saves a volume and brings it back; the built-in one leaves \
               all of it alone. Needs bash, kubectl and tar.",
        nodes: 1,
        play: |world, tale| plots::custom_mover(world, tale).boxed_local(),
    },
    Story {
        name: "maintenance",
        says: "The repository is maintained by jobs: when somebody asks, and by itself; a failure is said with its reason, old \
               jobs go, and everything comes back.",
        nodes: 1,
        play: |world, tale| plots::maintained(world, tale).boxed_local(),
    },
    Story {
        name: "change-password",
        says: "The password of the backup repositories is changed after a backup; everything comes back from it with the new \
               one, and the backup goes with its data.",
        nodes: 1,
        play: |world, tale| plots::change_password(world, tale).boxed_local(),
    },
    Story {
        name: "many-volumes",
        says: "Many volumes over several nodes (--volumes, --nodes), never more at once than the node agent's ConfigMap says, \
               also when it changes in the middle, and first come, first served; a mistake in it is said.",
        nodes: 4,
        play: |world, tale| many::play(world, tale).boxed_local(),
    },
];

/// Runs the command.
pub async fn run(args: &Args) -> Outcome {
    if args.list {
        let lines = STORIES
            .iter()
            .map(|story| format!("{:20} {}\n", story.name, story.says));
        return emit(&lines.collect::<String>());
    }
    let Some(story) = STORIES.iter().find(|story| story.name == args.story) else {
        return Err(
            Failure::usage(format!("no story is called {:?}", args.story)).next("velero sandbox demo --list")
        );
    };
    let folder = Folder::open(None)?;
    let size = Size {
        pages: args.pages.max(1),
        ..Size::STORY
    };
    tokio::select! {
        played = play(story, folder, size, args) => played,
        ended = super::interrupted() => {
            ended?;
            Err(Failure::new("the story was interrupted; all of it is removed"))
        }
    }
}

async fn play(story: &Story, folder: Folder, size: Size, args: &Args) -> Outcome {
    let mut tale = Tale::begin(story.name, story.says)?;
    tale.step("A Kubernetes cluster in this process, with Velero in it")?;
    let nodes = args.nodes.unwrap_or(story.nodes).max(1);
    let mut world = World::start(folder, size, None, nodes).await?;
    world.spoil = args.spoil;
    world.volumes = args.volumes.max(1);
    world.nodes = nodes;
    tale.fact(&format!(
        "{} node(s), storage class {}, object storage {}",
        nodes,
        world.sandbox.storage_class(),
        world.objects.url()
    ))?;
    let volumes = u32::try_from(args.volumes).unwrap_or(u32::MAX);
    let longest = LONGEST + LONGEST_PER_VOLUME.saturating_mul(volumes);
    let played = tokio::select! {
        played = (story.play)(&world, &mut tale) => played,
        () = tokio::time::sleep(longest) => {
            Err(Failure::new(format!("the story is not at its end after {} s", longest.as_secs())))
        }
    };
    if played.is_err() {
        tale.trouble(&world).await?;
    } else {
        tale.step("Take everything down")?;
    }
    world.end().await?;
    played?;
    tale.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_story_that_nobody_knows_is_refused() {
        let args = Args {
            story: "cinderella".into(),
            list: false,
            pages: 1,
            volumes: 1,
            nodes: None,
            spoil: false,
        };
        let refusal = run(&args).await.unwrap_err();
        assert_eq!(refusal.code(), 2);
        assert!(refusal.to_string().contains("velero sandbox demo --list"));
    }

    #[test]
    fn stories_have_names_to_type() {
        for story in STORIES {
            assert!(
                story
                    .name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '-')
            );
        }
    }
}
