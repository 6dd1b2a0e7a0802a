"""`python -m tests.benchmarks.bare_store ROOT`: the least that a look through a store takes.

Lists the folders that may hold artifacts and reads every record as JSON; prints how many there were. Of
a folder with the standard library alone, of an object store with as many requests at a time as s3fs makes.
"""

import json
import os
import sys
from collections.abc import Iterator

RECORD = "artifact.json"
OTHERS = ("names", "runs", "locks", "forgotten")


def records_of_folder(root: str) -> Iterator[bytes]:
    for stage in os.scandir(root):
        if stage.is_dir() and stage.name not in OTHERS:
            for artifact in os.scandir(stage.path):
                try:
                    with open(f"{artifact.path}/{RECORD}", "rb") as file:
                        yield file.read()
                except FileNotFoundError:
                    continue


def records_of_object_store(root: str) -> Iterator[bytes]:
    import fsspec

    fs, base = fsspec.core.url_to_fs(root)
    stages = [path for path in fs.ls(base, detail=False) if path.rsplit("/", 1)[-1] not in OTHERS]
    paths = [f"{artifact}/{RECORD}" for stage in stages for artifact in fs.ls(stage, detail=False)]
    yield from fs.cat(paths, on_error="omit").values()


if __name__ == "__main__":
    records = (records_of_object_store if "://" in sys.argv[1] else records_of_folder)(sys.argv[1])
    sys.stdout.write(f"{sum('key' in json.loads(record) for record in records)}\n")
