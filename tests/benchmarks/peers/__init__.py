"""The services that ours is measured against; each is started as a process of its own."""
