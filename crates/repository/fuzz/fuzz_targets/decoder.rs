//! One decoder, named by `CARAVEL_FUZZ_TARGET` (all of them without it), under libFuzzer.
#![no_main]

use caravel_repository::fuzz::TARGETS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let wanted = std::env::var("CARAVEL_FUZZ_TARGET").ok();
    for target in TARGETS.iter().filter(|target| wanted.as_deref().is_none_or(|name| name == target.name)) {
        (target.run)(bytes);
    }
});
