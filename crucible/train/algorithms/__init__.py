"""The mathematics of training: pure functions on plain values."""
