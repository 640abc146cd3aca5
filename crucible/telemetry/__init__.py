"""Telemetry: what a run tells, the ports that keep it, and stores of our own. No orchestration."""
