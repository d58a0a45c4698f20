//! Networks as data.
//!
//! A [`Graph`] lists the nodes of a network (convolution, batch norm, activation, concat ...), and the names, shapes
//! and initialisation rules of their parameters. Blocks are plain functions that append nodes through a [`Builder`]
//! and read like a forward pass. Everything else is derived from the graph: what runs it, what counts it, what
//! exports it.
//!
//! A graph knows channel counts but no image size: [`Graph::shapes`] works out the shape of every node for a given
//! batch, height and width, so one graph serves every input size over one set of weights.
//!
//! This crate holds no weight values and does not know what detection is.

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
