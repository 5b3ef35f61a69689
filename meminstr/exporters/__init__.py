"""Reports as metrics: Prometheus, a text file for its node_exporter, OpenTelemetry.

`families` says which figures there are (pure), `source` keeps them fresh off the scraper's path, and one file an
exporter hands them over.  The libraries are extras (``meminstr[prometheus]``, ``meminstr[otel]``); the text file needs
none.
"""
