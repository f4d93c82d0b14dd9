//! Cases dumped from Velero's own tests, put through ours (`../shared/cases`, or the folder in `CARAVEL_CASES`).

mod actions;
mod cases;
mod cluster;
mod cost;
mod existing;
mod modifiers;
mod operations;
mod plans;
mod replay;
mod runs;
mod small;
mod snapshots;
mod storage_classes;
