//! Every decoder on mutated samples (issue 5, part 7): no panic, no endless loop, no allocation beyond the input times a
//! constant. `cargo xtask fuzz` runs it for 20 s; as an ordinary test it runs for 3 s. `CARAVEL_FUZZ_SECONDS` and
//! `CARAVEL_FUZZ_SEED` say otherwise.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/counting.rs"]
mod counting;
#[path = "fuzz/mutate.rs"]
mod mutate;

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use caravel_repository::fuzz::{TARGETS, Target};
use mutate::Mutator;

/// JSON and gzip unfold: a byte of gzip can be a thousand bytes of text, a byte of text a few of structure.
const TIMES: usize = 4096;
/// Tables that are made once, decoders' windows.
const CONSTANT: usize = 8 << 20;
/// Nothing here takes so long on a few thousand bytes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn every_decoder_survives_mutated_bytes() {
    let total = Duration::from_secs(from_environment("CARAVEL_FUZZ_SECONDS", 3));
    let seed = from_environment("CARAVEL_FUZZ_SEED", 1);
    let each = total / TARGETS.len() as u32;
    for target in TARGETS {
        // Tables and caches of a decoder's own are made before anything is counted.
        (target.samples)().iter().for_each(|sample| (target.run)(sample));
        let runs = watched(target, seed, each);
        println!("{:20} {runs:8} inputs", target.name);
        assert!(runs > 10, "{}: too few inputs in {each:?}", target.name);
    }
}

/// Runs one target in a thread of its own, which is given up, with its input shown, when it hangs.
fn watched(target: &'static Target, seed: u64, time: Duration) -> u64 {
    let current = Arc::new(Mutex::new(Vec::new()));
    let (done, finished) = mpsc::channel();
    let shown = current.clone();
    let worker = std::thread::spawn(move || {
        let runs = fuzz(target, seed, time, &shown);
        let _ = done.send(());
        runs
    });
    match finished.recv_timeout(time + PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!(
                "{} does not end on {}",
                target.name,
                hex::encode(&*current.lock().unwrap())
            )
        }
        _ => worker.join().unwrap_or_else(|_| {
            let input = match current.lock() {
                Ok(input) => hex::encode(&*input),
                Err(poisoned) => hex::encode(&*poisoned.into_inner()),
            };
            panic!("{} panicked on {input}", target.name)
        }),
    }
}

fn fuzz(target: &Target, seed: u64, time: Duration, current: &Mutex<Vec<u8>>) -> u64 {
    let mut mutator = Mutator::new(seed);
    let samples = (target.samples)();
    let (started, mut runs) = (Instant::now(), 0);
    while started.elapsed() < time {
        for _ in 0..16 {
            let mut input = mutator.mutated(&samples);
            if let Some(wrap) = target.wrap
                && mutator.half()
            {
                input = wrap(&input);
            }
            current.lock().unwrap().clone_from(&input);
            let used = counting::peak_during(|| (target.run)(&input));
            let allowed = input.len() * TIMES + CONSTANT;
            assert!(
                used <= allowed,
                "{} took {used} bytes for an input of {}: {}",
                target.name,
                input.len(),
                hex::encode(&input)
            );
            runs += 1;
        }
    }
    runs
}

#[test]
fn too_much_memory_would_be_noticed() {
    let used = counting::peak_during(|| drop(std::hint::black_box(vec![0u8; 10 << 20])));
    assert!(used >= 10 << 20);
    assert!(counting::peak_during(|| ()) < 1 << 20);
}
