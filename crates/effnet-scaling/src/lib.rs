//! Compound scaling of EfficientNet: coefficients, rounding, stage tables, variants, cost and the grid search.
