"""What the mains share."""
