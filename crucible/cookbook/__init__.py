"""Recipes and their configuration: no handlers, no ports, no domain logic."""
