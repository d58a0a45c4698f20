#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod cost;
mod error;
mod graph;
mod level;
mod op;
mod param;
mod shape;

pub use builder::Builder;
pub use cost::{Cost, LayerCost};
pub use error::GraphError;
pub use graph::{Graph, Node, NodeId};
pub use level::{Backbone, Level};
pub use op::{Activation, Conv, Op};
pub use param::{Init, Param, ParamId, Role};
pub use shape::{Extent, Padding, Shape};
