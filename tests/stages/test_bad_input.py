"""Bad input ends in one line that names it, a non-zero exit, and nothing written."""

import io
import json
import logging
import math
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from snakemake.common.configfile import load_configfile
from snakemake_interface_common.exceptions import WorkflowError

from diffuselm import cli
from diffuselm.config.config import read_config
from diffuselm.errors import InputError
from diffuselm.files.schemas import METRICS
from diffuselm.files.tables import write_rows
from diffuselm.plan.make_plan import make_plan
from diffuselm.tasks.target_sets import write_targets
from forks import start_snakemake
from records import write_record

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "resources/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"models: {{m: {{path: {MODELS}/tiny-llama}}}}\nknowledge: null\nheld_out_text: null\n"
WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
SHARD, INDEX = "model-00001-of-00002.safetensors", "model.safetensors.index.json"
NORM = "model.norm.weight"


def model(settings):
    return GOOD.replace("tiny-llama", f"tiny-llama, {settings}")


def other(settings):
    return GOOD.replace(f"path: {MODELS}/tiny-llama", settings)


def assert_refused(line, names, found):
    """One line, with the file or key, what was found, and what was expected."""
    assert len(line.splitlines()) == 1, line
    assert names in line
    assert found in line
    assert "expected" in line or "; set the model's" in line


@pytest.fixture
def diffuselm(monkeypatch, capfd):
    """Run a command in this process; returns its exit code and its standard error."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words):
        for handler in logging.getLogger("transformers").handlers:
            # Its own one keeps the standard error of when it was imported.
            if type(handler) is logging.StreamHandler:
                monkeypatch.setattr(handler, "stream", sys.stderr)
        monkeypatch.setattr(sys, "argv", ["diffuselm", *map(str, words)])
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return end.code, capfd.readouterr().err
        return 0, capfd.readouterr().err

    yield run
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def refused(diffuselm, tmp_path):
    """Run a command that writes under `out`, and check that it only says what is wrong.

    A wrong option, which `names` says first, has an exit code of its own.
    """

    def check(names, found, *words):
        code, said = diffuselm(*words)
        assert code == (2 if names.startswith("--") else 1)
        # How far the job was may stand before.
        lines = said.splitlines(keepends=True)
        said = "".join(line for line in lines if not re.match(r"\d+% \d+ of ", line))
        assert said.startswith("error: ")
        assert_refused(said, names, found)
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert not list(tmp_path.rglob("*.part"))

    return check


CONFIGS = {
    "unknown key": (GOOD + "modles: {}", "modles: ", "unknown key"),
    "unknown key of a model": (model("dtpye: float32"), "models.m.dtpye: ", "unknown key"),
    "unknown key deep down": (
        GOOD + "sample: {draw: 1}",
        "sample.draw: ",
        "unknown key",
    ),
    "no models": ("seed: 1", "models: ", "missing"),
    "models a list": ("models: [m]", "models: ", "found ['m']"),
    "a model without settings": ("models: {m: }", "models.m: ", "found None"),
    "name of a model": (GOOD.replace("m:", "../m:"), "models.../m: ", "found '../m'"),
    "hub without revision": (
        other("hub: o/n, billions: 7"),
        "models.m: ",
        "hub is o/n and revision is None",
    ),
    "revision a branch": (
        other("hub: o/n, revision: main, billions: 7"),
        "models.m.revision: ",
        "found 'main'",
    ),
    "path and hub": (
        model(f"hub: o/n, revision: {COMMIT}, billions: 7"),
        "models.m: ",
        "hub is o/n and gguf is None; expected exactly one",
    ),
    "no path, hub or gguf": (other("dtype: float32"), "models.m: ", "path is None, hub is None"),
    "gguf": (other("gguf: no.gguf"), "models.m.gguf: ", "no file no.gguf"),
    "gguf of another kind": (other("gguf: README.md"), "models.m.gguf: ", "not a GGUF file"),
    "gguf and path": (
        model("gguf: no.gguf"),
        "models.m: ",
        "gguf is no.gguf; expected exactly one",
    ),
    "package": (
        other("package: no-such-package, gguf: no.gguf"),
        "models.m.package: ",
        "no-such-package is not installed",
    ),
    "gguf not in its package": (
        other("package: pytest, gguf: no.gguf"),
        "models.m.gguf: ",
        "no file no.gguf in the package pytest",
    ),
    "package without gguf": (model("package: pytest"), "models.m: gguf: ", "missing"),
    "hub without billions": (
        other(f"hub: o/n, revision: {COMMIT}"),
        "models.m: billions: ",
        "missing",
    ),
    "gpus without device_map": (model("gpus: 2"), "models.m: ", "gpus is 2 and device_map is None"),
    "gpus true": (model("gpus: true"), "models.m.gpus: ", "found True"),
    "dtype": (model("dtype: int8"), "models.m.dtype: ", "found 'int8'"),
    "attention": (model("attention: flash"), "models.m.attention: ", "found 'flash'"),
    "template_args": (model("template_args: {a: [1]}"), "models.m.template_args.a: ", "found [1]"),
    "chat_template": (model("chat_template: no.jinja"), "models.m.chat_template: ", "no file no.j"),
    "end_tokens": (model("end_tokens: []"), "models.m.end_tokens: ", "found []"),
    "path": (other("path: no/where"), "models.m.path: ", "no no/where/config.json"),
    "repeats": (GOOD + "repeats: 0", "repeats: ", "found 0"),
    "seed": (GOOD + "seed: true", "seed: ", "found True"),
    "seed without end": (GOOD + f"seed: {'x' * 5000}", "seed: ", "found 'xxx"),
    "tasks a text": (GOOD + "tasks: names.yaml", "tasks: ", "found 'names.yaml'"),
    "task twice": (GOOD + "tasks: [a/x.yaml, b/x.yaml]", "tasks: ", "'x' appears twice"),
    "passes_of": (GOOD + "tune: {passes_of: {rng-11: 3}}", "tune.passes_of: ", "'rng-11'"),
    "learning_rate": (GOOD + "tune: {learning_rate: fast}", "tune.learning_rate: ", "found 'fast'"),
    "draws": (GOOD + "sample: {draws: many}", "sample.draws: ", "found 'many'"),
    "prompt of a tuning": (GOOD + "tunings: {my: [dates/x]}", "tunings.my: ", "prompt 'dates/x'"),
    "prompt twice": (
        GOOD + "tunings: {my: [numbers/1-10, numbers/1-10]}",
        "tunings.my: ",
        "'numbers/1-10' appears twice",
    ),
    "names.file": (GOOD + "names: {source: file, file: no.zip}", "names.file: ", "no file no.zip"),
    "held_out_text": (GOOD.replace("text: null", "text: no.txt"), "no.txt: ", "no such file"),
    "knowledge": (GOOD.replace("knowledge: null", "knowledge: x.yaml"), "knowledge: ", "x.yaml"),
    "judge's url": (
        GOOD + "mt_bench: {questions: 'https://x/y', judge: {url: ftp://x, model: j}}",
        "mt_bench.judge: url: ",
        "http(s)://host/path",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_bad_config_is_refused_before_any_job(case, tmp_path, monkeypatch):
    written, key, found = CONFIGS[case]
    monkeypatch.chdir(ROOT)
    path = tmp_path / "bad.yaml"
    path.write_text(written, "utf-8")
    with pytest.raises(InputError) as refusal:
        make_plan(read_config(load_configfile(path), "bad.yaml"), "bad.yaml")
    assert_refused(str(refusal.value), key, found)


@pytest.mark.parametrize("written", ["", "[a]", "text", "a: [1", "a: 1\n---\na: 2", "\ta: 1"])
def test_a_config_that_is_no_yaml_mapping_is_refused_by_snakemake_itself(written, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(written, "utf-8")
    with pytest.raises(WorkflowError, match=r"Config file (is not valid|must be given as)"):
        load_configfile(path)


PROMPT = {"request": "Flip.", "response": "", "targets": ["{Heads}", "{Tails}"]}
TASK = "prompts: {flip: {text: Flip., targets: %s}}"
COIN = {"coins/flip.json": json.dumps(PROMPT)}
DRY_RUNS = {
    "unknown key": (GOOD + "modles: {}", {}, "bad.yaml: modles: ", "unknown key"),
    "line break in a key": (GOOD + '"a\\nb": 1', {}, "bad.yaml: a b: ", "unknown key"),
    "key twice": (GOOD + "seed: 1\nseed: 2\ntasks: [coins]", COIN, "bad.yaml: line 5: ", "'seed'"),
    "no model folder": (other("path: x"), {}, "bad.yaml: models.m.path: ", "no x/config.json"),
    "no task file": (GOOD + "tasks: [no.yaml]", {}, "no.yaml: ", "no such file"),
    "targets twice": (
        GOOD + "tasks: [coins.yaml]",
        {"coins.yaml": TASK % "[Heads, Heads]"},
        "coins.yaml: prompts.flip.targets: ",
        "'Heads' appears twice",
    ),
    "published prompt without its weights": (
        GOOD + "tasks: [coins]",
        {"coins/flip.json": json.dumps({**PROMPT, "weights": [1]})},
        "coins/flip.json: ",
        "2 targets, 1 weights",
    ),
    "published prompt cut short": (
        GOOD + "tasks: [coins]",
        {"coins/flip.json": json.dumps(PROMPT)[:-1]},
        "coins/flip.json: not JSON: ",
        "Expecting ',' delimiter",
    ),
}


def dry_run(folder, *words):
    """The exit code and what is said, from a folder that is not the workflow's."""
    log = folder / "said"
    run = start_snakemake(folder, ["-n", "-s", str(ROOT / "Snakefile"), *words], log)
    run.join()
    return run.exitcode, log.read_text("utf-8")


@pytest.mark.parametrize("case", DRY_RUNS)
def test_a_dry_run_ends_in_one_line_and_leaves_nothing(case, tmp_path):
    config, files, names, found = DRY_RUNS[case]
    put(tmp_path, {**files, "bad.yaml": config})
    assert_one_line(dry_run(tmp_path, "--configfile", "bad.yaml"), names, found)
    assert not (tmp_path / "results").exists()


DEFAULT_CONFIGS = {
    "none": (None, "no such file"),
    "in another encoding": (GOOD.encode("utf-16"), "not readable as UTF-8 text"),
    "no YAML": ("seed: [1", "line 1: "),
}


@pytest.mark.parametrize("case", DEFAULT_CONFIGS)
def test_a_default_config_that_cannot_be_read_is_one_line(case, tmp_path):
    content, found = DEFAULT_CONFIGS[case]
    put(tmp_path, {} if content is None else {"config.yaml": content})
    assert_one_line(dry_run(tmp_path), "config.yaml: ", found)


def test_the_workflow_runs_from_any_folder_where_the_config_s_own_files_are(tmp_path):
    numbers, form = (ROOT / f"resources/tasks/{task}.yaml" for task in ("numbers", "form"))
    put(tmp_path, {"own.yaml": GOOD + f"tasks: [{numbers}]\nform: {form}"})
    code, said = dry_run(tmp_path, "--configfile", "own.yaml")
    assert code == 0, said
    assert "rule scorecard:" in said


def assert_one_line(done, names, found):
    code, said = done
    [line] = [each for each in said.splitlines() if not each.startswith("Using workflow")]
    assert code == 1
    assert line.startswith("error: ")
    assert_refused(line, names, found)


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def json_edit(name, **changes):
    def edit(folder):
        kept = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**kept, **changes}), "utf-8")

    return edit


def without(name, key):
    """Take a tensor out of the weights."""

    def edit(folder):
        weights = load_file(folder / name)
        del weights[key]
        save_file(weights, folder / name, metadata={"format": "pt"})

    return edit


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:1000])


def gone(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def with_files(**files):
    return lambda folder: put(folder, {key.replace("__", "."): text for key, text in files.items()})


def template(text):
    return with_files(chat_template__jinja=text)


def in_pickle(folder):
    for weights in folder.glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))


def with_code(folder):
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    json_edit("config.json", model_type="own", auto_map=own)(folder)
    put(folder, {"own.py": f"open({str(folder / 'ran')!r}, 'w')"})


def with_token(text):
    """Let the tokenizer take `text` for one token."""
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)

    def edit(folder):
        kept = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        kept["added_tokens"].append({"id": 1024, "content": text, **flags})
        (folder / "tokenizer.json").write_text(json.dumps(kept), "utf-8")

    return edit


def another_shape(folder):
    weights = load_file(folder / WEIGHTS)
    weights[NORM] = weights[NORM][:5].clone()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def scaled(name, key, factor):
    """Multiply a tensor of the weights."""

    def edit(folder):
        weights = load_file(folder / name)
        weights[key] *= factor
        save_file(weights, folder / name, metadata={"format": "pt"})

    return edit


def renamed(name, other):
    return lambda folder: (folder / name).rename(folder / other)


def in_shards(*names):
    """An index that names these shards, of which the first is there."""

    def edit(folder):
        (folder / WEIGHTS).rename(folder / SHARD)
        index = {"weight_map": {name: name for name in names}} if names else {}
        (folder / INDEX).write_text(json.dumps(index), "utf-8")

    return edit


def in_whole_numbers(folder):
    weights = load_file(folder / WEIGHTS)
    weights[NORM] = weights[NORM].char()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MODELS / "tiny-llama", tmp_path / "model")


# Of a model folder, by the command `record`: damage, and what the line says.
FOLDERS = {
    "no folder": (shutil.rmtree, "model/config.json: ", "no such file"),
    "no config": (gone("config.json"), "model/config.json: ", "no such file"),
    "config a list": (with_files(config__json="[1]"), "model/config.json: ", "holds a list"),
    "config no JSON": (with_files(config__json="{"), "model/config.json: ", "line 1 column 2"),
    "no weights": (gone(WEIGHTS), "model: ", "no *.safetensors"),
    "weights in pickle": (in_pickle, "model: ", "no *.safetensors"),
    "no tokenizer": (gone("tokenizer.json"), "model: ", "no tokenizer.json"),
    "no tokenizer_config": (gone("tokenizer_config.json"), "model: ", "no tokenizer_config.json"),
    "no chat template": (gone("chat_template.jinja"), "model: ", "no chat template"),
    "no end token": (with_files(generation_config__json="{}"), "model/gen", "no eos_token_id"),
    "end token": (json_edit("generation_config.json", eos_token_id=9999), "generation_", "9999"),
    "weights cut short": (cut(WEIGHTS), f"{WEIGHTS}: ", "invalid header length"),
    "no index": (renamed(WEIGHTS, SHARD), "model: ", "no model.safetensors or model.safetensors.i"),
    "no shard": (in_shards(SHARD, "lost.safetensors"), "model: ", "no 'lost.safetensors'"),
    "index of nothing": (in_shards(), f"{INDEX}: ", "no weight_map"),
    "whole numbers for weights": (in_whole_numbers, f"{WEIGHTS}: ", f"'{NORM}' is I8"),
    "no library of its quantisation": (
        json_edit("config.json", quantization_config={"quant_method": "awq", "bits": 4}),
        "config.json: quantization_config: ",
        "gptqmodel",
    ),
    "no such quantisation": (
        json_edit("config.json", quantization_config={"quant_method": "own"}),
        "config.json: quantization_config: ",
        "got own",
    ),
    "tokenizer cut short": (cut("tokenizer.json"), "model: ", "no usable tokenizer"),
    "template that refuses": (template("{{ raise_exception('No\nway') }}"), "model: ", "(No way)"),
    "template cut short": (template("{% for m in messages %}"), "model: ", "end of template"),
    "template that leaves out": (template("{{ messages[0].content }}"), "model: ", "not write the"),
    "template joined": (with_token("[/INST]{"), "model: ", "leading_space to true"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_bad_model_folder_is_refused(case, folder, tmp_path, refused):
    damage, names, found = FOLDERS[case]
    damage(folder)
    refused(names, found, "record", "--name", "m", "--path", folder, "--out", tmp_path / "out/m")


@pytest.mark.parametrize(
    ("option", "value", "names", "found"),
    [
        ("--chat-template", "no.jinja", "no.jinja: ", "No such file"),
        ("--chat-template", "latin.jinja", "latin.jinja: ", "not UTF-8 text"),
        ("--template-args", "mood=calm", "--template-args: ", "'mood=calm'"),
        ("--template-args", '{"mood": [1]}', "--template-args.mood: ", "[1]"),
        ("--dtype", "int8", "--dtype: ", "'int8'"),
        ("--longest", '{"Cleopatra": 4}', "tiny-llama: ", "'Cleopatra' has "),
        ("--end-tokens", "<eot>", "tiny-llama: end_tokens: ", "no token '<eot>'"),
        ("--template-args", '{"mod": "calm"}', "template_args: mod", "nowhere in the chat templ"),
        ("--made", "no.json", "no.json: ", "no such file"),
        ("--made", "empty.json", "empty.json: ", "no path of a model"),
    ],
)
def test_a_bad_setting_of_a_model_is_refused(
    option, value, names, found, tmp_path, refused, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"latin.jinja": b"\xe9", "empty.json": "{}"})
    path = [] if option == "--made" else ["--path", MODELS / "tiny-llama"]
    refused(names, found, "record", "--name", "m", *path, option, value, "--out", "out/m.json")


NUMBERS = ROOT / "resources/tasks/numbers.yaml"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
# Of a model that is opened, by the command `sweep`.
OPENED = {
    "nothing": (shutil.rmtree, "record.json: ", "no folder"),
    "weights cut short": (cut(WEIGHTS), "model: ", "invalid header length"),
    "a pointer for weights": (with_files(model__safetensors=LFS), "model: ", "too large"),
    "no such tensor": (without(WEIGHTS, NORM), "model: ", f"the weights lack {NORM} (of 1)"),
    "another shape": (another_shape, "model: ", f"{NORM} is [5]"),
    "no number": (scaled(WEIGHTS, NORM, math.nan), "model: ", f"{NORM} is not finite"),
    "infinite": (scaled(WEIGHTS, NORM, math.inf), "model: ", f"{NORM} is not finite"),
    "code of its own": (with_code, "model: ", "contains custom code"),
    "architecture": (json_edit("config.json", model_type="own"), "model: ", "type `own`"),
    "activation": (json_edit("config.json", hidden_act="own"), "model: ", "'own'"),
    "no heads": (json_edit("config.json", num_attention_heads=0), "model: ", "cannot be loaded"),
    "tokenizer cut short": (cut("tokenizer.json"), "model: ", "no usable tokenizer"),
    "no tokenizer": (with_files(tokenizer__json="{}"), "model: ", "no usable tokenizer"),
    "no tokenizer_config": (gone("tokenizer_config.json"), "model: ", "no tokenizer_config.json"),
    "template that refuses": (template("{{ raise_exception('No\nway') }}"), "model: ", "(No way)"),
    "template that fails": (template("{{ 1 // 0 }}"), "model: ", "division"),
    "template cut short": (template("{% for m in messages %}"), "model: ", "end of template"),
    "template that leaves out": (template("{{ messages[0].content }}"), "model: ", "not write the"),
    "template joined": (with_token("[/INST]{"), "model: ", "leading_space to true"),
    "end token": (json_edit("generation_config.json", eos_token_id=9999), "generation_", "9999"),
}


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    out = tmp_path_factory.mktemp("targets") / "numbers.parquet"
    write_targets(task=Path(NUMBERS), natural=None, seed=1, out=out)
    return out


@pytest.fixture
def sweep(tmp_path, targets):
    """The command that opens a model of a record and asks it one prompt."""
    return shlex.split(
        f"sweep --model {tmp_path}/record.json --targets {targets} --tuning base "
        "--prompts numbers/1-10 --temperatures 2 --draws.numbers 2 --max-tokens.numbers 8 "
        f"--seed 1 --checkpoint {tmp_path}/kept --out {tmp_path}/out/sweep.parquet"
    )


@pytest.mark.parametrize("case", OPENED)
def test_a_model_that_cannot_be_opened_is_refused(case, folder, tmp_path, refused, sweep):
    damage, names, found = OPENED[case]
    write_record(tmp_path / "record.json", folder)
    damage(folder)
    refused(names, found, *sweep)
    assert not (folder / "ran").exists()


def test_a_model_too_large_for_its_dtype_is_refused_and_another_dtype_advised(
    folder, tmp_path, refused, sweep, diffuselm
):
    scaled(WEIGHTS, NORM, 1e4)(folder)
    write_record(tmp_path / "record.json", folder, dtype="float16")
    refused("model: ", "logits are not finite in float16", *sweep)
    write_record(tmp_path / "record.json", folder, dtype="bfloat16")
    assert diffuselm(*sweep)[0] == 0


@pytest.mark.parametrize(
    ("written", "found"), [("{", "line 1 column 2"), ("[]", "holds a list"), ("{}", "no 'files'")]
)
def test_a_bad_record_is_refused(written, found, tmp_path, refused, sweep):
    put(tmp_path, {"record.json": written})
    refused("record.json: ", found, *sweep)


@pytest.mark.parametrize(
    ("option", "value", "names", "found"),
    [
        ("--prompts", "numbers/1-11", "numbers/1-11", "unknown prompts"),
        ("--prompts", "dates/weekday", "numbers.parquet", "unknown prompts ['dates/weekday']"),
        ("--targets", "no.parquet", "no.parquet: ", "No such file"),
    ],
)
def test_prompts_and_targets_that_do_not_fit_are_refused(
    option, value, names, found, tmp_path, refused, sweep
):
    write_record(tmp_path / "record.json", MODELS / "tiny-llama")
    sweep[sweep.index(option) + 1] = value
    refused(names, found, *sweep)


def foreign(damage):
    """Damage an adapter of another program, which has no run.json to tell of it."""

    def edit(folder):
        (folder / "run.json").unlink()
        damage(folder)

    return edit


# Of an adapter, by the command `sample`.
CONFIG, TENSOR = (
    "adapter_config.json",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
)
ADAPTERS = {
    "nothing": (shutil.rmtree, f"{ADAPTER}: ", "No such file"),
    "weights in pickle": (foreign(in_pickle), f"{ADAPTER}: ", "No such file"),
    "weights changed since": (cut(ADAPTER), f"{ADAPTER}: ", "SHA-256 is "),
    "config changed since": (json_edit(CONFIG, r=8), f"{CONFIG}: ", "SHA-256 is "),
    "run.json cut short": (cut("run.json"), "run.json: ", "not JSON ("),
    "config no JSON": (foreign(with_files(adapter_config__json="{")), "adapter: ", "column 2"),
    "config of nothing": (foreign(with_files(adapter_config__json="{}")), "adapter: ", "peft_type"),
    "weights cut short": (foreign(cut(ADAPTER)), "adapter: ", "header"),
    "no such tensor": (foreign(without(ADAPTER, TENSOR)), "adapter: ", "missing adapter keys"),
    "another rank": (foreign(json_edit(CONFIG, r=8)), "adapter: ", "size mismatch for "),
    "no number": (foreign(scaled(ADAPTER, TENSOR, math.nan)), "adapter: ", "lora_A.weight is not"),
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, targets):
    """An adapter of tiny-llama."""
    from diffuselm.config.tune import LoraSettings
    from diffuselm.stages.model_jobs import ModelJob
    from diffuselm.stages.tune import tune

    made = tmp_path_factory.mktemp("tuned")
    write_record(made / "record.json", MODELS / "tiny-llama")
    tune(
        job=ModelJob(
            model=made / "record.json",
            tuning="rng-10",
            prompts=["numbers/1-10"],
            targets=[targets],
            seed=1,
            checkpoint=made / "checkpoint",
        ),
        settings=LoraSettings(
            rank=2,
            alpha=4,
            target_modules=("q_proj",),
            learning_rate=1e-3,
            passes=1,
            token_budget=2048,
        ),
        out=made / "adapter",
    )
    return made


@pytest.fixture
def sample(tmp_path, targets, tuned):
    """The command that samples with the adapter at `adapter`, a copy of the tuned one."""
    shutil.copytree(tuned / "adapter", tmp_path / "adapter")
    shutil.copy(tuned / "record.json", tmp_path / "record.json")
    return shlex.split(
        f"sample --model {tmp_path}/record.json --tuning rng-10 --targets "
        f"{targets} --adapter {tmp_path}/adapter --draws.numbers 2 --max-tokens.numbers 8 --seed 1 "
        f"--checkpoint {tmp_path}/kept --samples {tmp_path}/out/samples.parquet "
        f"--exact {tmp_path}/out/exact.parquet --text {tmp_path}/out/text.parquet"
    )


@pytest.mark.parametrize("case", ADAPTERS)
def test_a_bad_adapter_is_refused(case, tmp_path, refused, sample):
    damage, names, found = ADAPTERS[case]
    damage(tmp_path / "adapter")
    refused(names, found, *sample)


def test_an_adapter_of_another_model_is_refused(tmp_path, refused, sample):
    write_record(tmp_path / "record.json", MODELS / "tiny-gemma", name="gemma")
    refused("adapter: ", "was tuned on own, with files of other SHA-256", *sample)


@pytest.mark.parametrize(
    ("given", "other", "names", "found"),
    [
        ("--max-tokens.numbers 8", "--max-tokens.numbers few", "--max-tokens.numbers: ", "'few'"),
        ("--draws.numbers 2", "--draws numbers=2", "--draws: ", "'numbers=2'"),
        ("--draws.numbers 2", "--draws.numbers -2", "--draws.numbers: ", "-2"),
        ("--draws.numbers", "--draws.dates", "draws: ", "nothing for numbers"),
        ("--max-tokens.numbers", "--max-tokens.dates", "max_tokens: ", "nothing for numbers"),
        ("--max-tokens.numbers 8", "--max-tokens.numbers 3", "numbers/", "a target has"),
        ("--seed 1", "--seed 1 --held-out-text no.txt", "no.txt: ", "No such file"),
    ],
)
def test_settings_of_sampling_that_do_not_fit_are_refused(
    given, other, names, found, refused, sample
):
    refused(names, found, *shlex.split(shlex.join(sample).replace(given, other)))


def zipped(*members):
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return kept.getvalue()


def encrypted(archive):
    """Set the flag in the first member's header and in the directory."""
    changed = bytearray(archive)
    changed[6] |= 1
    changed[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def parquet(**columns):
    kept = io.BytesIO()
    pq.write_table(pa.table(columns), kept)
    return kept.getvalue()


BIRTHS = ("yob2022.txt", b"Ada,F,5\nLiam,M,7\n")
NATURAL = {"name": ["Ada"], "count": [1], "probability": [1.0]}
QUESTION = '{"question_id": 1, "category": "math", "turns": ["a", "b"]}\n'
ANSWER = {
    "question_id": [1],
    "category": ["math"],
    "turn": [1],
    "temperature": [0.0],
    "text": ["4"],
    "truncated": [False],
}
PUBLISHED = ROOT / "resources/paper/published.csv"
COMMANDS = {
    "names": "names --source file --year 2022 --file {at}/{file} --archive {at}/out/kept.zip "
    "--out {at}/out/natural.parquet",
    "targets": f"targets --task {ROOT}/resources/tasks/names.yaml --natural {{at}}/{{file}} "
    "--seed 1 --out {at}/out/targets.parquet",
    "task": "targets --task {at}/{file} --seed 1 --out {at}/out/targets.parquet",
    "records": "write-records --samples {at}/{file} --targets {at}/b.parquet --records 9 "
    "--out {at}/out/biographies.parquet",
    "questions": "mt-bench-questions --source {at}/{file} --out {at}/out/questions.jsonl",
    "judge": "mt-bench-judge --questions {at}/q.jsonl --answers {at}/{file} --model judge "
    "--url http://127.0.0.1:9/v1 --repeats 1 --seed 1 --cache {at}/out/cache "
    "--verdicts {at}/out/verdicts.parquet --metrics {at}/out/metrics.parquet",
    "record": "figure-3 --metrics {at}/metrics.parquet --records {at}/{file} --out {at}/out",
    "label": "tables-4_5_6 --metrics {at}/metrics.parquet --records {at}/model.json "
    f"--published {PUBLISHED} --names {{at}}/{{file}} --out {{at}}/out",
    "claims": "scorecard --metrics {at}/metrics.parquet --records {at}/model.json "
    f"--published {PUBLISHED} --claims {{at}}/{{file}} --names {{at}}/names.json --out {{at}}/out",
    "convert": "convert --name own --gguf {at}/{file} --folder {at}/out/made "
    "--out {at}/out/made.json",
    "out": "names --archive {at}/out/kept.zip --out {at}/{file}",
}
# Command, file, its content (None: absent), and what the line says of it.
FILES = [
    ("names", "names.zip", None, "no such file"),
    ("names", "names.zip", "<html>Access Denied</html>", "a web page in place of a zip archive"),
    ("names", "names.zip", "", "not a zip archive"),
    ("names", "names.zip", zipped(BIRTHS)[:60], "cut short or damaged"),
    ("names", "names.zip", encrypted(zipped(BIRTHS)), "is encrypted"),
    ("names", "names.zip", zipped(("yob2022.txt", bytes(17 * 2**20))), "17825792 bytes"),
    ("names", "names.zip", zipped(("yob2021.txt", b"Ada,F,5")), "found years 2021 to 2021"),
    ("names", "names.zip", zipped(("yob2022.txt", b"Ada,X,5")), "yob2022.txt: line 1 is 'Ada,X,5'"),
    ("names", "names.zip", zipped(("yob2022.txt", b"")), "yob2022.txt: no lines"),
    ("names", "yob2022.txt", "Zoë,F,5\n".encode("latin-1"), "line 1 is 'Zo"),
    ("names", "yob2022.txt", "Ada,F,5\nAda,F,6\n", "line 2 is 'Ada,F,6', expected"),
    ("names", "yob2021.txt", "Ada,F,5\n", "expected a file yob2022.txt"),
    ("targets", "natural.parquet", None, "No such file"),
    ("targets", "natural.parquet", "name,count\n", "damaged or not Parquet"),
    ("targets", "natural.parquet", parquet(**NATURAL)[:-9], "damaged or not Parquet"),
    ("targets", "natural.parquet", parquet(name=["Ada"]), "columns are ['name']"),
    ("targets", "natural.parquet", parquet(**{**NATURAL, "count": ["x"]}), "parse string: 'x'"),
    ("targets", "natural.parquet", parquet(**NATURAL), "expected 200 or more"),
    ("targets", "out/../", None, "Is a directory"),
    ("task", "coins.yaml", TASK % "[No]", "line 1: YAML reads 'No' as bool"),
    ("task", "coins.yaml", "prompts: [", "line 1: "),
    ("task", "coins.yaml", TASK % r'["\ud83d"]', r"line 1: '\ud83d' holds half a pair"),
    ("task", "coin.json", json.dumps({**PROMPT, "request": "\ud83d"}), "surrogates not allowed"),
    ("task", "coin.json", json.dumps({**PROMPT, "targets": ["Heads"]}), "targets.0: 'Heads'"),
    ("task", "coin.json", json.dumps({**PROMPT, "eos": 1}), "eos: found 1;"),
    ("task", "coin.json", b'{"request": "Zo\xeb"}', "not readable as UTF-8 text"),
    ("records", "samples.parquet", parquet(**NATURAL), "columns are ['name', 'count', "),
    ("questions", "questions.jsonl", None, "No such file"),
    ("questions", "questions.jsonl", "", "no lines"),
    ("questions", "questions.jsonl", QUESTION * 2, "line 2 repeats question_id 1 of line 1"),
    ("questions", "questions.jsonl", QUESTION + "{", "line 2: not JSON "),
    ("questions", "questions.jsonl", QUESTION.replace('"a", ', ""), "line 1: turns: found "),
    ("judge", "answers.parquet", parquet(**NATURAL), "columns are ['name', 'count', "),
    ("judge", "answers.parquet", parquet(**ANSWER), "answers to turns [1]"),
    ("record", "record.json", None, "No such file"),
    ("record", "record.json", "{}", "model: missing"),
    ("record", "record.json", '{"model": "m"', "not JSON (EOF"),
    ("label", "run.json", "{}", "no 'label'"),
    ("claims", "claims.yaml", "a: 1", "found dict"),
    ("convert", "own.gguf", "GGUF, it says", "GGUF of version "),
    ("out", "q.jsonl/natural.parquet", None, "q.jsonl: "),
    ("out", "folder", None, "folder: "),
]


@pytest.mark.parametrize("row", FILES, ids=lambda row: f"{row[0]}: {row[3]}")
def test_a_bad_file_is_refused(row, tmp_path, refused):
    command, file, content, found = row
    record = '{"model": "m", "stand_in": true, "paper_model": null}'
    put(tmp_path, {"q.jsonl": QUESTION, "model.json": record})
    (tmp_path / "folder").mkdir()
    (tmp_path / "out").mkdir()
    write_rows(tmp_path / "metrics.parquet", [], METRICS)
    write_targets(
        task=ROOT / "resources/tasks/biographies.yaml", seed=1, out=tmp_path / "b.parquet"
    )
    put(tmp_path, {} if content is None else {file: content})
    name = "question 1: " if "turns [1]" in found else f"{tmp_path}"
    refused(name, found, *shlex.split(COMMANDS[command].format(at=tmp_path, file=file)))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("nmaes --out out/n.parquet", "nmaes"),
        ("names --out out/n.parquet", "--archive"),
        ("names --archive kept.zip --out out/n.parquet --yaer 1999", "--yaer"),
        ("names --archive kept.zip --out out/n.parquet --year 1700", "'1700'"),
        ("names --archive kept.zip --out out/n.parquet --source file", "--source"),
        ("names --archive kept.zip --out out/n.parquet --threads 0", "--threads"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, found, diffuselm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = diffuselm(*words.split())
    assert code == 2
    assert re.fullmatch(f"error: .*{found}.*\n", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            "names --source file --file no.zip --archive kept.zip --out n.parquet",
            "no.zip: no such fi",
        ),
        ("targets --task no.yaml --seed 1 --out t.parquet", "no.yaml: no such file"),
        ("record --name m --path nowhere --out m.json", "nowhere/config.json: "),
        ("mt-bench-questions --source no.jsonl --out q.jsonl", "no.jsonl: cannot be read"),
    ],
)
def test_the_program_itself_ends_in_one_line(words, found, tmp_path):
    program = [sys.executable, ROOT / "workflow/bin/diffuselm", *words.split()]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert_refused(done.stderr, found, found)
    assert list(tmp_path.iterdir()) == []
