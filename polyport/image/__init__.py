"""Images: what servers boot from, and their bytes."""
