"""Types, errors, files, storage, images and hardware facts that every other package uses."""
