"""The training domain: ports, types, renderers and mathematics. No SDK, no I/O."""
