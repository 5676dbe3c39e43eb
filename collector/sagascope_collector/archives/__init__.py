"""Files of telemetry, as the OpenTelemetry Collector's file exporter writes them, sent to a running collector."""

from sagascope_collector.archives.progress import Progress
from sagascope_collector.archives.reports import FileReport, Refusal, Report
from sagascope_collector.archives.sending import Sender
from sagascope_collector.archives.transfer import send_files

__all__ = ["FileReport", "Progress", "Refusal", "Report", "Sender", "send_files"]
