"""Handlers of the ports: each folder wraps one SDK, imported only when its handler is made."""
