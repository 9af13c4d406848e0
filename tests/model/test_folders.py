"""Folders of models and adapters are checked against the hashes in their run.json."""

import pytest

from diffuselm.errors import InputError
from diffuselm.files.provenance import file_hash
from diffuselm.model.folders import check_files


def test_a_file_that_is_not_what_run_json_says_is_refused(tmp_path):
    file, wrong = tmp_path / "adapter_config.json", "0" * 64
    file.write_text("{}")
    check_files(tmp_path, {file.name: file_hash(file)})
    missing = "adapter_model.safetensors"
    for name, found in ((file.name, f"SHA-256 is {file_hash(file)}"), (missing, "No such file")):
        expected = f"^{tmp_path / name}: {found}.*, expected {wrong}"
        with pytest.raises(InputError, match=expected):
            check_files(tmp_path, {name: wrong})
