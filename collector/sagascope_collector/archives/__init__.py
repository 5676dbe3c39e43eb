"""Files of telemetry: imports what the OpenTelemetry Collector's file exporter writes, and exports records."""

from sagascope_collector.archives.importer import FileReport, Problem, Progress, Report, Sender, send_files

__all__ = ["FileReport", "Problem", "Progress", "Report", "Sender", "send_files"]
