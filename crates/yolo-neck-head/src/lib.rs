//! YOLOv8's C2f, SPPF, PAN neck, decoupled DFL head and CSP backbone as graph builders.
