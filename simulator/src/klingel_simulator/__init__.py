"""Local stand-ins for networks, speaking their real protocols."""
