"""Serve a folder as a Hugging Face Hub on 127.0.0.1 until SIGTERM.

Writes STATE/hub.json, `{"url": …, "pid": …}`, once it accepts requests; HF_ENDPOINT is that URL.
"""

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from local_aws.hub.repository import Repository
from local_aws.hub.server import LoopbackHub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local_aws.hub", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the model's files, in the Hub's layout")
    parser.add_argument("--model-id", required=True, help="the name to serve it under, <organisation>/<name>")
    parser.add_argument("--revision", required=True, help="the commit to serve it as: 40 hexadecimal digits")
    parser.add_argument("--state", type=Path, required=True, help="folder for hub.json")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        repository = Repository.from_folder(arguments.folder, model_id=arguments.model_id, revision=arguments.revision)
    except ValueError as error:
        parser.error(str(error))
    with LoopbackHub(repository) as hub:
        arguments.state.mkdir(parents=True, exist_ok=True)
        draft = arguments.state / "hub.json.draft"
        draft.write_text(json.dumps({"url": hub.url, "pid": os.getpid()}), encoding="utf-8")
        draft.replace(arguments.state / "hub.json")  # a reader that sees the file sees all of it
        stop.wait()


if __name__ == "__main__":
    main()
