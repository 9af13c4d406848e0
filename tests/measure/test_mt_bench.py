"""MT-Bench: its questions are checked line by line, and its answers can be had again."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from diffuselm.errors import InputError
from diffuselm.files.tables import read_table
from diffuselm.measure.mt_bench import (
    ANSWERS,
    Question,
    parse_questions,
    read_questions,
    write_questions,
)
from diffuselm.measure.mt_bench_answers import answer, answer_questions, conversation_ids
from records import write_record

MODEL = Path(__file__).parents[2] / "resources/models/tiny-llama"
WRITING = {
    "question_id": 81,
    "category": "writing",
    "turns": ["Pick a number between 1 and 10.", "Now pick another. \u2028 {}"],
}
MATH = {"question_id": 111, "category": "math", "turns": ["1 + 1?", "2 + 2?"], "reference": ["2"]}


def jsonl(*objects):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects).encode()


# Questions


def test_questions_keep_their_order_turns_and_references():
    first, second = parse_questions(jsonl(MATH, {**WRITING, "more": 1}), "q.jsonl")
    assert (first.question_id, first.reference) == (111, ("2",))
    assert (second.category, list(second.turns)) == ("writing", WRITING["turns"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "found \\[1\\]; expected a mapping"),
        (jsonl({k: v for k, v in MATH.items() if k != "turns"}), "turns: missing"),
        (jsonl({**MATH, "question_id": "111"}), "question_id: found '111'; .*whole number"),
        (jsonl({**MATH, "question_id": True}), "question_id: found True"),
        (jsonl({**MATH, "question_id": 2**63}), "question_id: found 9223"),
        (jsonl({**MATH, "category": "../etc"}), "category: found '../etc'"),
        (jsonl({**MATH, "turns": "Both?"}), "turns: found 'Both\\?'"),
        (jsonl({**MATH, "turns": ["One?"]}), "turns: found .* at least 2"),
        (jsonl({**MATH, "turns": ["1?", "2?", "3?"]}), "turns: found .* at most 2"),
        (jsonl({**MATH, "turns": ["1?", 2]}), "turns.1: found 2; expected text"),
        (jsonl({**MATH, "turns": ["1?", ""]}), "turns.1: found ''"),
        (jsonl({**MATH, "reference": "2"}), "reference: found '2'"),
    ],
)
def test_a_malformed_line_is_named_in_one_line(line, expected):
    data = jsonl(WRITING) + line.rstrip(b"\n") + b"\n"
    with pytest.raises(InputError, match=f"^q.jsonl: line 2: .*{expected}") as error:
        parse_questions(data, "q.jsonl")
    assert "\n" not in str(error.value)


def test_a_question_twice_and_no_question_are_refused():
    with pytest.raises(InputError, match="line 3 repeats question_id 81 of line 1"):
        parse_questions(jsonl(WRITING, MATH, {**MATH, "question_id": 81}), "q.jsonl")
    with pytest.raises(InputError, match=r"q\.jsonl: no lines"):
        parse_questions(b"", "q.jsonl")


def test_a_local_file_is_copied_whole_and_only_if_it_is_the_known_one(tmp_path):
    source, out = tmp_path / "q.jsonl", tmp_path / "out" / "questions.jsonl"
    source.write_bytes(jsonl(WRITING, MATH))
    with pytest.raises(InputError, match=r"q\.jsonl: sha256 is [0-9a-f]{64}, expected 00"):
        write_questions(source=str(source), out=out, sha256="0" * 64)
    with pytest.raises(InputError, match="none: cannot be read"):
        write_questions(source=str(tmp_path / "none"), out=out)
    assert not out.parent.exists()
    write_questions(
        source=str(source), out=out, sha256=hashlib.sha256(source.read_bytes()).hexdigest()
    )
    assert out.read_bytes() == source.read_bytes()
    assert [one.question_id for one in read_questions(out)] == [81, 111]


def test_a_url_is_fetched_and_a_missing_one_is_one_line(tmp_path):
    (tmp_path / "q.jsonl").write_bytes(jsonl(MATH))
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    url, out = f"http://127.0.0.1:{server.server_port}", tmp_path / "out.jsonl"
    try:
        with pytest.raises(InputError, match=f"^{url}/no: HTTP 404") as error:
            write_questions(source=f"{url}/no", out=out)
        assert not out.exists()
        write_questions(source=f"{url}/q.jsonl", out=out)
    finally:
        server.shutdown()
        server.server_close()
    assert "\n" not in str(error.value)
    assert out.read_bytes() == jsonl(MATH)


# Answers


@pytest.fixture(scope="module")
def loaded():
    from diffuselm.model.opening import load_chat_format, load_model

    model = load_model(MODEL, dtype="float32", device="cpu")
    return model, load_chat_format(MODEL, model.generation_config.eos_token_id)


def answers(loaded, question, seed=1, max_tokens=8):
    asked = Question.model_validate_json(jsonl(question))
    return answer(*loaded, asked, max_tokens=max_tokens, seed=seed)


def test_the_second_prompt_holds_the_first_request_and_answer(loaded):
    chat = loaded[1]
    ids = conversation_ids(chat, ["Pick a number.", "{7}", "Another."])
    assert (
        chat.tokenizer.decode(ids)
        == "<s>[INST] Pick a number. [/INST]{7}</s><s>[INST] Another. [/INST]"
    )
    assert conversation_ids(chat, ["Pick a number."]) == chat.prompt_ids("Pick a number.")


def test_the_second_answer_follows_the_models_own_first(loaded, monkeypatch):
    model, chat = loaded
    prompts, written = [], []
    generate = model.generate

    def watched(input_ids, **options):
        found = generate(input_ids=input_ids, **options)
        prompts.append(chat.tokenizer.decode(input_ids[0]))
        written.append(chat.decode(found[0, input_ids.shape[1] :].tolist()))
        return found

    monkeypatch.setattr(model, "generate", watched)
    first, second = answers(loaded, WRITING)
    assert first["text"].strip() in prompts[1].partition(WRITING["turns"][0])[2]
    assert prompts[1].startswith(prompts[0])
    assert [first["text"], second["text"]] == written
    assert (first["turn"], second["turn"]) == (1, 2)


def test_answers_depend_on_their_seed_alone_and_greedy_ones_on_none(loaded):
    import torch

    first = answers(loaded, WRITING)
    torch.rand(3)
    assert answers(loaded, WRITING) == first
    assert any(answers(loaded, WRITING, seed) != first for seed in range(2, 12))
    assert answers(loaded, MATH, 2) == answers(loaded, MATH, 3)


def test_a_category_has_the_benchmarks_temperature():
    found = {
        category: Question.model_validate_json(jsonl({**MATH, "category": category})).temperature
        for category in ("writing", "stem", "coding", "new-one")
    }
    assert found == {"writing": 0.7, "stem": 0.1, "coding": 0.0, "new-one": 0.7}


def test_an_answer_cut_short_is_flagged_and_an_ended_one_is_not(loaded):
    whole, cut = (
        answers(loaded, {**MATH, "turns": WRITING["turns"]}, max_tokens=most)[0] for most in (8, 1)
    )
    assert (whole["truncated"], cut["truncated"]) == (False, True)
    assert "</s>" not in whole["text"]
    assert whole["text"].startswith(cut["text"])


def test_the_stage_writes_both_turns_of_every_question_and_its_record(tmp_path):
    questions, out = tmp_path / "questions.jsonl", tmp_path / "tiny-llama" / "base.parquet"
    questions.write_bytes(jsonl(WRITING, MATH))
    write_record(tmp_path / "m.json", MODEL, name="tiny-llama", stand_in=True)
    written = []
    for _ in range(2):
        answer_questions(
            model=tmp_path / "m.json",
            tuning="base",
            adapter=None,
            questions=questions,
            max_tokens=8,
            seed=1,
            out=out,
        )
        written.append(out.read_bytes())
    assert written[0] == written[1]
    rows = read_table(out, ANSWERS).to_pylist()
    assert [(r["question_id"], r["turn"]) for r in rows] == [(81, 1), (81, 2), (111, 1), (111, 2)]
    record = json.loads(out.with_suffix(".run.json").read_text())
    assert (
        record["settings"]["questions_sha256"] == hashlib.sha256(jsonl(WRITING, MATH)).hexdigest()
    )
