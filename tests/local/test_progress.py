"""Progress is a bar on a terminal and a line every few seconds elsewhere."""

import io

from klingel_local.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Claim to be a terminal."""
        return True


class Time:
    """Seconds that a test turns."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Tell the time."""
        return self.now


def test_elsewhere_a_line_every_five_seconds():
    out, time = io.StringIO(), Time()
    progress = Progress("Kafka", 100_000_000, out, time)
    for _ in range(20):
        time.now += 0.5
        progress.advance(1_000_000)
    assert out.getvalue().splitlines() == [
        "Kafka: 10 of 100 MB, 2.0 MB/s",
        "Kafka: 20 of 100 MB, 2.0 MB/s",
    ]


def test_on_a_terminal_one_line_is_drawn_over_and_ended_once():
    out, time = Terminal(), Time()
    progress = Progress("Kafka", 10_000_000, out, time)
    time.now += 1
    progress.advance(5_000_000)
    progress.close()
    assert out.getvalue().count("\r") == 2
    assert out.getvalue().count("\n") == 1
    assert "[" + "#" * 15 + " " * 15 + "] 5 of 10 MB, 5.0 MB/s" in out.getvalue()


def test_bytes_that_must_be_fetched_again_are_taken_back():
    out, time = io.StringIO(), Time()
    progress = Progress("x", 1, out, time)
    progress.expect(10_000_000)
    progress.advance(8_000_000)
    progress.advance(-8_000_000)
    time.now += 1
    progress.close()
    assert out.getvalue() == "x: 0 of 10 MB, 0.0 MB/s\n"
