"""How the names of all events begin."""

PREFIX = "crucible_kitchen"
