//! Training, validation and prediction.
