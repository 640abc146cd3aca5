"""Crucible: LLM post-training as typed function pipelines. Written once, run on any handlers.

`crucible.effects` is the core, `crucible.train` the training domain, `crucible.telemetry` the stores of what a run tells,
`crucible.kitchen` stages, workflows, runs and handlers, `crucible.cookbook` recipes to start from.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
