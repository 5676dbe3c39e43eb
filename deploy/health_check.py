"""The image's health check of a collector: exits with 0 if its API answers, in TLS where the settings say so."""

import http.client
import os
import socket
import ssl

TIMEOUT_SECONDS = 2.0

port = int(os.environ.get("SAGASCOPE_API", "127.0.0.1:4319").rpartition(":")[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the certificate has the name that others call

if os.environ.get("SAGASCOPE_TLS_CLIENT_CA"):  # it answers only who has a certificate, so connecting must do
    socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS).close()
else:
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
        if os.environ.get("SAGASCOPE_TLS_CERT")
        else http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    )
    connection.request("GET", "/healthz")
    raise SystemExit(connection.getresponse().status != http.client.OK)
