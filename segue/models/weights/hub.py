"""The only door to the network: weights from the Hugging Face hub, by https, of a bounded size,
with their SHA-256.

Fetched are config.json and *.safetensors, never a pickle and never code. What is here already is
not fetched again.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from segue.errors import CheckpointError
from segue.models.weights.foreign import sha256

CONFIG, WEIGHTS = "config.json", "*.safetensors"
MOST_BYTES = 10_000_000_000  # of all files of one model


def download(repo_id: str) -> Path:
    """The local folder of a model on the hub, fetched if it is not there yet.

    Raises:
        CheckpointError: if the hub cannot be reached or has no such model, the model is too large,
        or a file is not
            what the hub says it is.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            folder = Path(
                snapshot_download(repo_id, allow_patterns=[CONFIG, WEIGHTS], local_files_only=True)
            )
        except LocalEntryNotFoundError:
            folder = None
        if folder is None or not any(folder.glob(WEIGHTS)):
            folder = _fetched(repo_id)
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        text = (str(error).strip() or type(error).__name__).split("\n")[0][:160]
        message = f"neither a file or folder here nor a model that can be fetched ({text})"
        raise CheckpointError(
            repo_id, message, "a checkpoint folder, a .pth file or a hub id"
        ) from None
    for path in sorted(folder.glob(WEIGHTS)):
        _compare(path)
    return folder


def _fetched(repo_id: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    if not constants.ENDPOINT.startswith("https://"):
        raise CheckpointError(
            repo_id, f"a hub at {constants.ENDPOINT}", "https://", "unset HF_ENDPOINT"
        )
    try:
        info = HfApi().model_info(repo_id, files_metadata=True)
    # each version of the library has another HTTP client, with errors of its own
    except Exception as error:  # noqa: BLE001
        raise OSError(str(error)) from None
    listed = [
        file
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, name) for name in (CONFIG, WEIGHTS))
    ]
    size = sum(file.size or 0 for file in listed)
    if size > MOST_BYTES:
        raise CheckpointError(repo_id, f"a model of {size:,} bytes", f"at most {MOST_BYTES:,}")
    return Path(snapshot_download(repo_id, allow_patterns=[CONFIG, WEIGHTS]))


def _compare(path: Path) -> None:
    """Remove and refuse a file of weights whose bytes are not those the hub announced.

    The hub names the SHA-256 of a large file before it sends it, and its library keeps the file
    under that name.
    """
    kept = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", kept.name) and sha256(kept) != kept.name:
        kept.unlink()
        raise CheckpointError(
            path, "its SHA-256 is not what the hub announced; removed", kept.name, "the same again"
        )
