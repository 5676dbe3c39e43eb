"""Notifies receivers of incidents: rules decide which, channels deliver."""

from sagascope_collector.alerting.alerter import Alerter
from sagascope_collector.alerting.channels import NotDelivered, send_test
from sagascope_collector.alerting.rules import Alerts, Receiver

__all__ = ["Alerter", "Alerts", "NotDelivered", "Receiver", "send_test"]
