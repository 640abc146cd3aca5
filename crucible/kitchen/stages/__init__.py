"""The stages that workflows are made of: each orchestrates, and leaves the mathematics to `crucible.train`."""
