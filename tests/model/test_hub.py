"""A model of the hub: fetched whole into the cache, used offline, and refused in one clear line.

The stage runs in a process of its own, against a hub on loopback: the library reads its settings
when it is imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffuselm.errors import InputError
from diffuselm.model.source import hub as hub_module
from hub_server import COMMIT, REPO, TOKEN, Answer, Hub, refusal, serving

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "resources/models/tiny-llama"
MODEL = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())}
UNUSED = (
    "README.md", "LICENSE.txt", "pytorch_model.bin", "modeling_x.py", "model.gguf", "tf_model.h5",
    "flax_model.msgpack", "consolidated.safetensors", "original/params.json", "onnx/model.onnx",
    "original/model.safetensors",
)  # fmt: skip
STAGE = """
import sys, time
from pathlib import Path
time.sleep = lambda seconds: None  # what the library waits between two attempts
from diffuselm.model.source.hub import download
download(name="tiny", hub=sys.argv[1], revision=sys.argv[2], out=Path(sys.argv[3]))
"""


def python(code, *words, home, prefix=(), **environment):
    """A process of its own, which knows no more than this of the user's settings."""
    known = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    settings = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",  # which would ask the hub for a list of its own
        "PYTHONPATH": str(ROOT / "workflow"),
    }
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, *map(str, words)],
        env={**known, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def stage(url, home, *, repo=REPO, revision=COMMIT, **settings):
    """The stage's process, and the record that it has to write."""
    out = home / "record.json"
    out.unlink(missing_ok=True)
    done = python(STAGE, repo, revision, out, home=home, **{"HF_ENDPOINT": url, **settings})
    return done, out


def fetched(url, home, **settings):
    """The record, where all went well."""
    done, out = stage(url, home, **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    return json.loads(out.read_text())


def refused(url, home, **settings):
    """The one line of the error, from the end of a traceback that holds no secret."""
    done, out = stage(url, home, **settings)
    assert done.returncode == 1
    assert not out.exists()
    assert "hf_" not in done.stdout + done.stderr
    line = done.stderr.splitlines()[-1]
    start = "diffuselm.errors.InputError: models.tiny: "
    assert line.startswith(start)
    return line.removeprefix(start)


def files(folder):
    """What a folder holds, by relative name."""
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


# What comes


def test_the_snapshot_is_the_repository_byte_for_byte_without_what_is_not_used(tmp_path):
    with serving(Hub({**MODEL, **dict.fromkeys(UNUSED, b"unused")})) as hub:
        record = fetched(hub.url, tmp_path)
    assert files(record["path"]) == MODEL
    assert not [path for _, path in hub.requests if path.rpartition("/")[2] in UNUSED]
    assert record == {
        "model": "tiny",
        "repo": REPO,
        "revision": COMMIT,
        "commit": COMMIT,
        "path": str(tmp_path / f"hf/hub/models--lab--tiny/snapshots/{COMMIT}"),
    }


def test_shards_and_each_kind_of_tokenizer_are_fetched(tmp_path):
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    wanted = {
        "config.json": b"{}",
        "model.safetensors.index.json": index,
        **dict.fromkeys(shards, b"weights"),
        **dict.fromkeys(("tokenizer.model", "chat_template.jinja", "merges.txt", "vocab.txt"), b""),
    }
    with serving(Hub({**wanted, "consolidated-00001-of-00001.safetensors": b""})) as hub:
        assert files(fetched(hub.url, tmp_path)["path"]) == wanted


def test_a_branch_is_resolved_to_its_commit_on_record(tmp_path):
    with serving(Hub(MODEL)) as hub:
        record = fetched(hub.url, tmp_path, revision="main")
        offline = fetched(hub.url, tmp_path, revision="main", HF_HUB_OFFLINE="1")
    assert (record["revision"], record["commit"]) == ("main", COMMIT)
    assert offline == record


def test_a_cached_commit_needs_no_request_and_loads_offline(tmp_path):
    with serving(Hub(MODEL)) as hub:
        record = fetched(hub.url, tmp_path)
        hub.requests.clear()
        assert fetched(hub.url, tmp_path, HF_HUB_OFFLINE="1") == record
        assert fetched(hub.url, tmp_path) == record
        assert hub.requests == []
    # Offline this process is too, see conftest. Only this test needs what takes seconds to import.
    import torch

    from diffuselm.model.opening import load_model

    fetched_model, ours = (load_model(Path(at)).state_dict() for at in (record["path"], FOLDER))
    assert list(fetched_model) == list(ours)
    assert all(torch.equal(fetched_model[name], ours[name]) for name in ours)


def test_a_snapshot_that_another_program_left_in_part_is_completed(tmp_path):
    folder = tmp_path / f"hf/hub/models--lab--tiny/snapshots/{COMMIT}"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(MODEL[name])
    with serving(Hub(MODEL)) as hub:
        record = fetched(hub.url, tmp_path)
    assert files(record["path"]) == MODEL


def test_the_token_goes_to_the_hub_and_nowhere_else(tmp_path):
    def echo(_method, _path, answer):
        answer.headers["X-HF-Warning"] = f"topic; hello {TOKEN}"
        return answer

    with serving(Hub(MODEL, private=True, trouble=echo)) as hub:
        fetched(hub.url, tmp_path, HF_TOKEN=TOKEN)  # which asserts that nothing is printed
    leaks = [name for name, data in files(tmp_path).items() if TOKEN.encode() in data]
    assert leaks == []


# What keeps it away: access


@pytest.mark.parametrize(
    ("hub", "settings", "expected"),
    [
        (
            Hub(MODEL, gated=True),
            {},
            "gated; accept its licence at {url}/lab/tiny with your account, then run "
            "`hf auth login` or set HF_TOKEN",
        ),
        (
            Hub(MODEL, gated=True),
            {"HF_TOKEN": TOKEN},
            "gated; accept its licence at {url}/lab/tiny with your account, then let the token "
            "read gated repositories",
        ),
        (
            Hub(MODEL, private=True),
            {},
            "private, or no such repository (HTTP 401, no token); check its name, and for a "
            "private one run `hf auth login` or set HF_TOKEN",
        ),
        (
            Hub(MODEL),
            {"HF_TOKEN": "hf_another"},
            "the hub does not accept the token (HTTP 401); run `hf auth login` or set HF_TOKEN",
        ),
        (
            Hub(MODEL),
            {"HF_TOKEN": "hf_“copied”"},
            "the token cannot be sent; set HF_TOKEN to one as the hub shows it",
        ),
        (
            Hub(MODEL),
            {"HF_TOKEN": "hf_\x0b-"},
            "the token cannot be sent; set HF_TOKEN to one as the hub shows it",
        ),
    ],
    ids=["gated", "gated-403", "private", "wrong-token", "quoted-token", "control-in-token"],
)
def test_no_access_says_what_to_do(tmp_path, hub, settings, expected):
    with serving(hub):
        line = refused(hub.url, tmp_path, **settings)
    page = f"{hub.url}/{REPO} at {COMMIT}: "
    assert line.startswith(page + expected.format(url=hub.url))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"repo": "lab/none", "HF_TOKEN": TOKEN}, "no such repository"),
        ({"revision": "f" * 40}, "no such revision; expected a commit of {url}/lab/tiny/commits"),
        ({"repo": "lab/tiny/model"}, "'lab/tiny/model' is no repository's id; expected OWNER/NAME"),
    ],
    ids=["repository", "revision", "id"],
)
def test_what_does_not_exist_is_named(tmp_path, settings, expected):
    with serving(Hub(MODEL)) as hub:
        line = refused(hub.url, tmp_path, **settings)
    assert f": {expected.format(url=hub.url)}" in line


# What keeps it away: the hub and the network


def always(answer, *, on=""):
    """The same answer to every request whose path has `on` in it."""
    return lambda _method, path, usual: answer if on in path else usual


def html(_method, path, answer):
    page = b"<html>Please log in</html>"
    return Answer(200, page, {"Content-Type": "text/html"}) if path.startswith("/api") else answer


def anonymous(_method, path, answer):
    return Answer(200, answer.body, {"ETag": '"1"'}) if "/resolve/" in path else answer


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (always(refusal(500, message=TOKEN)), "the hub fails (HTTP 500); run it again later"),
        (always(refusal(503), on="/tree/"), "the hub fails (HTTP 503); run it again later"),
        (always(refusal(503), on="/resolve/"), "the hub fails (HTTP 503); run it again later"),
        (always(refusal(429)), "too many requests (HTTP 429)"),
        (always(refusal(403, message=TOKEN)), "access refused (HTTP 403)"),
        (always(refusal(403, message="Access to this resource is disabled.")), "disabled"),
        (always(refusal(404)), "HTTP 404; check that HF_ENDPOINT and the proxy lead to a"),
        (html, "an answer that is not a hub's (JSONDecodeError); check HF_ENDPOINT"),
        (always(Answer(200, b"[]")), "an answer that is not a hub's (TypeError)"),
        (always(Answer(200, b'{"id": "x"}')), "an answer that is not a hub's"),
        (always(Answer(200, b"{"), on="/tree/"), "an answer that is not a hub's (JSONDecodeError)"),
        (
            always(Answer(200, b'{"id": "x", "sha": "../..", "siblings": []}')),
            "an answer that is not a hub's (ValueError)",
        ),
        (anonymous, "an answer that is not a hub's (FileMetadataError)"),
        (always(None), "no answer in time; check the network and the proxy, or run this stage"),
    ],
    ids=[
        "500", "503-list", "503-file", "429", "403", "disabled", "404", "web-page", "list",
        "no-commit", "bad-list", "commit-is-a-path", "no-headers", "silence",
    ],
)  # fmt: skip
def test_a_hub_in_trouble_is_one_line(tmp_path, trouble, expected):
    with serving(Hub(MODEL, trouble=trouble)) as hub:
        line = refused(hub.url, tmp_path, HF_HUB_ETAG_TIMEOUT="1", HF_TOKEN=TOKEN)
    assert f": {expected}" in line


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:9", "no connection ([Errno 111] Connection refused); check the network"),
        ("http://me:hf_secret@hub.invalid", "no connection ([Errno -"),
        ("hub.invalid", "HF_ENDPOINT is not a hub's address; expected https://HOST"),
        (
            "http://me:hf_secret@hub\x01",
            "HF_ENDPOINT is not a hub's address; expected https://HOST",
        ),
    ],
    ids=["refused", "no-such-host", "no-address", "no-url"],
)
def test_no_network_is_one_line(tmp_path, endpoint, expected):
    assert f" at {COMMIT}: {expected}" in refused(endpoint, tmp_path)


def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path):
    with serving(Hub(MODEL)) as hub:
        proxy = hub.url.replace("//", "//me:hf_secret@")  # it knows no CONNECT
        line = refused("https://hub.invalid", tmp_path, HTTPS_PROXY=proxy)
    assert "the proxy does not let it through; check HTTPS_PROXY" in line


def cut(times):
    """Break off the weights in the middle of what is asked for, the first so many times."""
    left = [times]

    def trouble(method, path, answer):
        if method == "GET" and path.endswith("/model.safetensors") and left[0]:
            left[0] -= 1
            return Answer(answer.status, answer.body, answer.headers, cut=len(answer.body) // 2)
        return answer

    return trouble


def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path):
    with serving(Hub(MODEL, trouble=cut(2))) as hub:
        record = fetched(hub.url, tmp_path)
    assert files(record["path"]) == MODEL
    assert len([path for method, path in hub.requests if "GET" in method and "model." in path]) == 3


def test_an_interrupted_download_keeps_its_whole_files_for_the_next_run(tmp_path):
    def stopped(method, path, answer):
        if method == "GET" and path.endswith("/model.safetensors"):
            return Answer(200, answer.body[:1000], answer.headers)  # shorter than HEAD said
        return answer

    with serving(Hub(MODEL, trouble=stopped)) as hub:
        line = refused(hub.url, tmp_path)
        assert "interrupted (OSError); run it again, the files that are whole are kept" in line
        line = refused(hub.url, tmp_path, HF_HUB_OFFLINE="1")
        assert "not whole in the cache" in line
        hub.trouble, hub.requests[:] = always(None, on="no such"), []
        record = fetched(hub.url, tmp_path)
    assert files(record["path"]) == MODEL
    got = [path.rpartition("/")[2] for method, path in hub.requests if "/resolve/" in path]
    assert set(got) == {"model.safetensors"}


# What keeps it away: the cache


def test_offline_without_the_model_says_how_to_get_it(tmp_path):
    with serving(Hub(MODEL)) as hub:
        line = refused(hub.url, tmp_path, HF_HUB_OFFLINE="1")
    assert hub.requests == []
    assert line.endswith(
        f"not whole in the cache {tmp_path}/hf/hub, and the library is offline; unset "
        "HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or run this stage where there is a network"
    )


def test_offline_with_a_part_of_unknown_origin_names_what_is_missing(tmp_path):
    folder = tmp_path / f"hf/hub/models--lab--tiny/snapshots/{COMMIT}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(MODEL["config.json"])
    line = refused("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    found = f"{folder}: no model.safetensors or model.safetensors.index.json; "
    assert line.startswith(f"{found}expected a whole model (unset ")


@pytest.mark.parametrize(
    ("weights", "count"),
    [({"pytorch_model.bin": b""}, 6), ({"consolidated.safetensors": b""}, 6), ({}, 5)],
)
def test_a_repository_without_safetensors_is_refused_before_anything_comes(
    tmp_path, weights, count
):
    others = {name: data for name, data in MODEL.items() if name != "model.safetensors"}
    with serving(Hub({**others, **weights})) as hub:
        line = refused(hub.url, tmp_path)
    assert line.endswith(
        f"neither model.safetensors nor model.safetensors.index.json among its {count} files; "
        "expected a model with weights in safetensors"
    )
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (
            b'{"weight_map": {"a": "shard.safetensors"}}',
            "no 'shard.safetensors'; expected a whole model",
        ),
        (b"[]", "no weight_map; expected one"),
    ],
)
def test_an_index_whose_weights_are_not_there_is_refused(tmp_path, index, expected):
    with serving(Hub({"config.json": b"{}", "model.safetensors.index.json": index})) as hub:
        assert expected in refused(hub.url, tmp_path)


@pytest.fixture
def mounted(tmp_path):
    """A command's beginning that gives it, and it alone, a disk at `hf`: of 1 MiB, or read-only."""
    (tmp_path / "hf").mkdir()

    def prefix(options):
        mount = f'mount -t tmpfs -o {options} none {tmp_path}/hf && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        try:
            tried = subprocess.run([*words, "true"], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("this system has no unshare")
        if tried.returncode:
            pytest.skip(f"no mount without privilege: {tried.stderr.strip()}")
        return words

    return prefix


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("size=1m", "No space left on device"),
        ("ro", "Read-only file system"),
    ],
)
def test_a_disk_that_takes_no_more_is_named(tmp_path, mounted, options, expected):
    with serving(Hub(MODEL)) as hub:
        line = refused(hub.url, tmp_path, prefix=mounted(options))
    assert f": {tmp_path / 'hf/hub'}" in line
    assert line.endswith(
        f": {expected}; expected a cache with room that can be written, see HF_HOME"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(122, "x", "y"), "y: Disk quota exceeded; expected a cache with room"),
        (RuntimeError("I/O error: x (os error 28)"), "/.*: No space left on device; expected"),
        (RuntimeError("Connection refused (os error 111)"), "interrupted .RuntimeError.; run it"),
        (RuntimeError("CAS error"), "interrupted .RuntimeError.; run it again"),
    ],
)
def test_what_the_rust_part_and_quotas_say_is_understood(tmp_path, monkeypatch, error, expected):
    # Neither can be had for real here: the first needs a quota, the others a store of chunks.
    def failing(*_, **__):
        raise error

    monkeypatch.setattr(hub_module, "snapshot_download", failing)
    with pytest.raises(InputError, match=f": {expected}"):
        hub_module.download(name="tiny", hub=REPO, revision=COMMIT, out=tmp_path / "record.json")
    assert not list(tmp_path.iterdir())
