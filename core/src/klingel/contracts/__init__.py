"""What crosses a topic: names, envelope, codec."""
