//! Networks as data: nodes, parameters, shapes, cost.
