"""Files of telemetry: imports what the OpenTelemetry Collector's file exporter writes, and exports records."""

from sagascope_collector.archives.importer import (
    FileReport as FileReport,
    Progress as Progress,
    Report as Report,
    Sender as Sender,
    send_files as send_files,
)
