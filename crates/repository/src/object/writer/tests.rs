//! Zeros that are only named, beside the same zeros as bytes: one object either way.

use std::sync::Arc;

use caravel_storage::memory::MemoryStorage;
use futures::FutureExt;
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{CreateOptions, Environment, OpenOptions, Repository, create, open, writer::Writer};

fn repository() -> Repository {
    let storage = Arc::new(MemoryStorage::new());
    let environment = Environment {
        cpu_threads: 0,
        ..Environment::system()
    };
    let password = "x".into();
    let owner = CreateOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let created = create(storage.clone(), &password, &owner, environment.clone());
    created.now_or_never().unwrap().unwrap();
    let options = OpenOptions {
        username: "u".into(),
        hostname: "h".into(),
    };
    let opened = open(storage, &password, options, environment);
    opened.now_or_never().unwrap().unwrap()
}

/// Bytes without a run of zeros.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Some bytes of a file.
#[derive(Clone, Debug)]
enum Stretch {
    Data(usize),
    Zeros(usize),
}

/// The object with its zeros named, and with all of it as bytes.
fn both_ways(writer: &Writer, rule: Rule, stretches: &[Stretch]) -> [(ObjectId, u64); 2] {
    let options = ObjectOptions {
        splitter: Some(rule),
        compressor: None,
    };
    let [mut named, mut read] = [writer.object_with(options), writer.object_with(options)];
    for (number, stretch) in stretches.iter().enumerate() {
        match stretch {
            Stretch::Data(length) => {
                let bytes = noise(*length, number as u64);
                named.write(&bytes).unwrap();
                read.write(&bytes).unwrap();
            }
            Stretch::Zeros(length) => {
                named.write_zeros(*length as u64).unwrap();
                read.write(&vec![0; *length]).unwrap();
            }
        }
        assert_eq!(named.length(), read.length());
    }
    [named, read].map(|object| object.finish().unwrap())
}

#[test]
fn zeros_between_data_give_the_same_object_as_reading_them() {
    let repository = repository();
    let writer = repository.write().unwrap();
    let rules = [
        Rule::Buzhash(128 << 10),
        Rule::RabinKarp(128 << 10),
        Rule::Fixed(128 << 10),
    ];
    let stretch = prop_oneof![
        (0usize..200_000).prop_map(Stretch::Data),
        (0usize..900_000).prop_map(Stretch::Zeros),
        (0usize..200).prop_map(Stretch::Zeros),
    ];
    let case = (
        prop::sample::select(rules.to_vec()),
        prop::collection::vec(stretch, 1..8),
    );
    let checked = TestRunner::default().run(&case, |(rule, stretches)| {
        let [named, read] = both_ways(&writer, rule, &stretches);
        prop_assert_eq!(named, read);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn a_hole_behind_data_of_an_odd_length_is_not_read() {
    let repository = repository();
    let writer = repository.write().unwrap();
    let mut object = writer.object();
    object.write(&noise(3_000_017, 1)).unwrap();
    object.write_zeros(100 << 30).unwrap();
    // Else the next piece would have begun in its buffer: it would be hashed, as would all that follow.
    assert!(object.buffer.is_empty() && object.zeros.is_some());
    object.write(&noise(100, 2)).unwrap();
    let (_, length) = object.finish().unwrap();
    assert_eq!(length, 3_000_017 + (100 << 30) + 100);
}
