//! YAML configuration to a resolved, checked specification.
