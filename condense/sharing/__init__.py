"""Sets that travel: files of any layout read, placed in the right space, fetched, exported and described."""
