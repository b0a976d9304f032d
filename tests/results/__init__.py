"""Results as files: any bytes and any page of them, at a cost that does not grow."""
