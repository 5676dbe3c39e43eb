"""Notifies receivers of incidents: rules decide which, channels deliver."""

from sagascope_collector.alerting.alerter import Alerter
from sagascope_collector.alerting.channels import send_test
from sagascope_collector.alerting.rules import Alerts, Receiver
from sagascope_collector.alerting.sender import NotDelivered

__all__ = ["Alerter", "Alerts", "NotDelivered", "Receiver", "send_test"]
