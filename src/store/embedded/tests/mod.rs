//! The file: what survives, what is refused.
