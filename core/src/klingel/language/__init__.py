"""What a text tells, given a loaded model: pure, versioned."""
