"""Reports: what runs did, as one HTML page that needs no network. Needs the extra `cli`."""

from crucible.telemetry.report._differences import Ends, compared_ends
from crucible.telemetry.report._render import render_report, write_report

__all__ = ["Ends", "compared_ends", "render_report", "write_report"]
