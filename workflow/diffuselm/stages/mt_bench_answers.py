"""Stage `mt_bench`, second step: the answers of one model and tuning."""

from pathlib import Path

from diffuselm import contracts
from diffuselm.models import load_adapter, load_chat_format, load_model, pick_device
from diffuselm.mt_bench import ANSWERS, answer, read_questions
from diffuselm.provenance import file_hash, read_json, run_record, write_json
from diffuselm.seeds import derive


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    questions: Path,
    max_tokens: int,
    dtype: str,
    seed: int,
    out: Path,
) -> None:
    """Write the answers to both turns of every question, and run.json beside them."""
    asked = read_questions(questions)
    record = read_json(model_record)
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device(record["stand_in"]))
    if adapter is not None:
        model = load_adapter(model, adapter)
    chat = load_chat_format(folder, model, leading_space=False)  # for braced answers alone
    rows = []
    for question in asked:
        own_seed = derive(seed, "mt-bench", record["model"], tuning, str(question.question_id))
        rows += answer(model, chat, question, max_tokens=max_tokens, seed=own_seed)
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / "adapter_model.safetensors"),
        "questions_sha256": file_hash(questions),
        "max_tokens": max_tokens,
        "dtype": dtype,
        "end_tokens": chat.end_tokens,
    }
    made = run_record(settings=settings, seed=seed, model=record, device=str(model.device))
    contracts.write_rows(out, rows, ANSWERS)
    write_json(out.with_suffix(".run.json"), made)
