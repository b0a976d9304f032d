"""Questions to a service, asked the same way whether it runs in this process or elsewhere."""
