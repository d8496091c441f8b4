"""What klingel can hear: one folder a network."""
