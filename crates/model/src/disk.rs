//! The contract of a disk: the few file operations the embedded log needs, real or simulated.
