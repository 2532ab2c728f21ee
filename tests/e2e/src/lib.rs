//! End-to-end tests: the real programs, started as a user starts them.
