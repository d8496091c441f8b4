"""The klingel command."""
