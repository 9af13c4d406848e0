"""Stage `sample`, of the base model at other temperatures (footnote 6)."""

from collections.abc import Sequence
from pathlib import Path

from diffuselm import contracts
from diffuselm.encoding import encode_prompts
from diffuselm.models import load_chat_format, load_model, pick_device
from diffuselm.provenance import read_json, run_record, write_json
from diffuselm.sample_long import sample_long
from diffuselm.seeds import derive
from diffuselm.stages.sample import sample_rows


def run(
    *,
    model_record: Path,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    prompts: Sequence[str],
    temperatures: Sequence[float],
    draws: int,
    max_tokens: int,
    token_budget: int,
    dtype: str,
    leading_space: bool,
    seed: int,
    out: Path,
) -> None:
    """Write the answers to `prompts` at every temperature, and run.json beside them."""
    record = read_json(model_record)
    folder = Path(record["path"])
    model = load_model(folder, dtype=dtype, device=pick_device(record["stand_in"]))
    chat = load_chat_format(folder, model, leading_space=leading_space)
    rows = []
    for prompt in encode_prompts(chat, tasks, targets, prompts):
        for temperature in temperatures:
            answers = sample_long(
                model,
                prompt.tokens,
                draws,
                end_tokens=chat.end_tokens,
                max_tokens=max_tokens,
                seed=derive(seed, "sweep", record["model"], prompt.id, f"{temperature:g}"),
                token_budget=token_budget,
                temperature=temperature,
            )
            found = sample_rows(chat, prompt, answers, seed)
            rows += [{"temperature": temperature, **row} for row in found]
    settings = {
        "tuning": "base",
        "prompts": list(prompts),
        "temperatures": list(temperatures),
        "draws": draws,
        "max_tokens": max_tokens,
        "token_budget": token_budget,
        "dtype": dtype,
        "leading_space": leading_space,
    }
    made = run_record(settings=settings, seed=seed, model=record, device=str(model.device))
    contracts.write_rows(out, rows, contracts.SWEEP)
    write_json(out.with_suffix(".run.json"), made)
