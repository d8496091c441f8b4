"""Brand files: models, loader, errors that say what would be right."""
