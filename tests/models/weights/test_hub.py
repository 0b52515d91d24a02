"""The one door to the network, with a hub of our own behind it: https, a cap, and the SHA-256 that
was announced.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from segue.errors import CheckpointError
from segue.models.weights import hub

CONTENT = b"weights"
NAME = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(tmp_path, monkeypatch) -> SimpleNamespace:
    """What the hub says and sends, and how often it was asked.

    Kept as its library does: links to files by SHA-256.
    """
    hub_ = SimpleNamespace(size=7, content=CONTENT, asked=0)
    folder = tmp_path / "snapshot"

    class Api:
        def model_info(self, repo_id: str, files_metadata: bool) -> SimpleNamespace:
            hub_.asked += 1
            files = [("model.safetensors", hub_.size), ("model.pkl", 10**15), ("config.json", 2)]
            return SimpleNamespace(
                siblings=[SimpleNamespace(rfilename=n, size=s) for n, s in files]
            )

    def snapshot(repo_id: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        assert allow_patterns == ["config.json", "*.safetensors"]
        if local_files_only and not folder.exists():
            raise LocalEntryNotFoundError("not here")
        if not local_files_only:
            folder.mkdir()
            (tmp_path / NAME).write_bytes(hub_.content)
            (folder / "model.safetensors").symlink_to(tmp_path / NAME)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return hub_


def test_a_model_is_fetched_once_and_then_used_without_the_network(served):
    folder = hub.download("a/model")
    assert (folder / "model.safetensors").read_bytes() == CONTENT and served.asked == 1
    assert hub.download("a/model") == folder and served.asked == 1


def test_a_file_that_is_not_what_was_announced_is_removed_and_refused(served, tmp_path):
    served.content = b"other"
    with pytest.raises(CheckpointError, match="its SHA-256 is not what the hub announced; removed"):
        hub.download("a/model")
    assert not (tmp_path / NAME).exists()


def test_a_model_above_the_cap_is_not_fetched(served, tmp_path):
    served.size = hub.MOST_BYTES
    with pytest.raises(
        CheckpointError, match=r"a model of 10,000,000,002 bytes; expected at most 10,000,000,000"
    ):
        hub.download("a/model")
    assert not Path(tmp_path / "snapshot").exists()


def test_a_hub_without_https_is_not_asked(served, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://mirror")
    with pytest.raises(CheckpointError, match="a hub at http://mirror; expected https://"):
        hub.download("a/model")
    assert served.asked == 0
