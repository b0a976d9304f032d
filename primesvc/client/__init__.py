"""The Python client: a service elsewhere, used over HTTP. It knows nothing of the service side."""
