"""OVA archives and OVF folders as a source: files on the worker's machine or on a web server."""
