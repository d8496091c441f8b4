"""`klingel-indexer run`: one worker until SIGTERM."""

from klingel_indexer.worker import run
from klingel_streams import process


def main() -> None:
    """Read the command line and run."""
    process.main("klingel-indexer", "From Kafka to Elasticsearch, item by item.", "index", run)


if __name__ == "__main__":
    main()
