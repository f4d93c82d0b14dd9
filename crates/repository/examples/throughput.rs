//! How fast this machine writes and reads a repository in memory: `cargo run --release -p caravel-repository
//! --example throughput -- 2048 2` (megabytes, threads). Random data, nothing deduplicated.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Instant};

use caravel_repository::*;
use caravel_storage::memory::MemoryStorage;
use rand::RngCore;

fn main() {
    let argument = |n: usize, default: usize| {
        std::env::args()
            .nth(n)
            .map_or(default, |text| text.parse().unwrap())
    };
    let (megabytes, threads) = (argument(1, 1024), argument(2, 2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let password = secrecy::SecretString::from("x");
    let (username, hostname) = ("u".to_owned(), "h".to_owned());
    let create_options = CreateOptions {
        username: username.clone(),
        hostname: hostname.clone(),
    };
    let environment = Environment::system();
    runtime
        .block_on(create(
            storage.clone(),
            &password,
            &create_options,
            environment.clone(),
        ))
        .unwrap();
    let options = OpenOptions { username, hostname };
    let repository = runtime
        .block_on(open(storage, &password, options, environment))
        .unwrap();

    let writer = repository.write().unwrap();
    let mut data = vec![0; 64 << 20];
    rand::rng().fill_bytes(&mut data);
    let started = Instant::now();
    let objects: Vec<ObjectId> = std::thread::scope(|scope| {
        let write = |thread: u64| {
            let mut data = data.clone();
            let mut object = writer.object();
            for round in 0..megabytes / 64 / threads {
                // Another first byte in every page: nothing deduplicates.
                data.chunks_mut(4096)
                    .for_each(|page| page[0] ^= (round as u8).wrapping_add(thread as u8) | 1);
                data.chunks(1 << 20)
                    .for_each(|piece| object.write(piece).unwrap());
            }
            object.finish().unwrap().0
        };
        let running: Vec<_> = (0..threads as u64)
            .map(|n| scope.spawn(move || write(n)))
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    writer.commit().unwrap();
    let rate = |bytes: u64, since: Instant| bytes as f64 / since.elapsed().as_secs_f64() / 1e9;
    println!(
        "write {:.2} GB/s ({} MB new)",
        rate(writer.new_bytes(), started),
        writer.new_bytes() >> 20
    );

    let started = Instant::now();
    let read: u64 = std::thread::scope(|scope| {
        let repository = &repository;
        let read = move |id: ObjectId| {
            let mut object = repository.open_object(id).unwrap();
            std::iter::from_fn(|| object.next_piece().unwrap())
                .map(|piece| piece.len() as u64)
                .sum::<u64>()
        };
        let running: Vec<_> = objects.iter().map(|id| scope.spawn(move || read(*id))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("read {:.2} GB/s", rate(read, started));
}
