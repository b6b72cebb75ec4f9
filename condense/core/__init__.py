"""What every room stands on: devices, random streams, registries, files, stopping, the journal."""
