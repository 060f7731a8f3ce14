//! Packets for tests.
