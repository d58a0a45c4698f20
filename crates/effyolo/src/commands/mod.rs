//! One file a command; `workload` is what two of them run.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod info;
pub(crate) mod predict;
pub(crate) mod profile;
pub(crate) mod summary;
pub(crate) mod train;
pub(crate) mod val;
pub(crate) mod weights;
pub(crate) mod workload;
