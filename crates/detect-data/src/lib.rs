//! Detection data sets, label checks, augmentation and the prefetching loader.
