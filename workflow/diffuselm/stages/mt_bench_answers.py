"""Stage `mt_bench`, second step: the answers of one model and tuning."""

from pathlib import Path

from diffuselm.files import contracts
from diffuselm.files.provenance import file_hash, run_record, write_json
from diffuselm.files.seeds import derive
from diffuselm.measure.mt_bench import ANSWERS, answer, read_questions
from diffuselm.model.opening import ADAPTER_FILES, open_model


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    questions: Path,
    max_tokens: int,
    seed: int,
    out: Path,
) -> None:
    """Write the answers to both turns of every question, and run.json beside them."""
    asked = read_questions(questions)
    opened = open_model(model_record, adapter)
    rows = []
    for question in asked:
        own_seed = derive(seed, "mt-bench", opened.name, tuning, str(question.question_id))
        rows += answer(opened.model, opened.chat, question, max_tokens=max_tokens, seed=own_seed)
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / ADAPTER_FILES[0]),
        "questions_sha256": file_hash(questions),
        "max_tokens": max_tokens,
        **opened.used,
    }
    made = run_record(
        settings=settings, seed=seed, model=opened.record, device=str(opened.model.device)
    )
    contracts.write_rows(out, rows, ANSWERS)
    write_json(out.with_suffix(".run.json"), made)
