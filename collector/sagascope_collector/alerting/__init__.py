"""Notifies receivers of incidents: rules decide which, channels deliver."""

from sagascope_collector.alerting.alerter import Alerter as Alerter
from sagascope_collector.alerting.channels import NotDelivered as NotDelivered, send_test as send_test
from sagascope_collector.alerting.rules import Alerts as Alerts, Receiver as Receiver
