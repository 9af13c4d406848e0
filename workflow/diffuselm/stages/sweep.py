"""Stage `sample`, of the baseline at other temperatures (footnote 6)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

import pyarrow as pa

from diffuselm.files import contracts
from diffuselm.files.provenance import content_hash, file_hash, run_record, write_json
from diffuselm.files.resume import Parts
from diffuselm.files.seeds import derive
from diffuselm.model.encoding import EncodedPrompt, encode_prompts
from diffuselm.model.opening import ADAPTER_FILES, open_model
from diffuselm.plan.fingerprint import fingerprint
from diffuselm.progress import progress
from diffuselm.stages.sample import sample_rows
from diffuselm.tasks.prompt_files import task_inputs
from diffuselm.tasks.tasks import task_of
from diffuselm.tree.long_sampling import sample_long
from diffuselm.tree.token_budget import TokenBudget, tokens_that_fit


def run(
    *,
    model_record: Path,
    tuning: str,
    adapter: Path | None,
    tasks: Sequence[Path],
    targets: Sequence[Path],
    prompts: Sequence[str],
    temperatures: Sequence[float],
    draws: int,
    max_tokens: Mapping[str, int],
    token_budget: int | None,
    seed: int,
    checkpoint: Path,
    out: Path,
) -> None:
    """Write the answers to `prompts` at every temperature, and run.json beside them.

    What is done of them is kept in the folder `checkpoint`, from where a killed job goes on.
    """
    opened = open_model(model_record, adapter)
    chat, model = opened.chat, opened.model
    budget = TokenBudget(token_budget or tokens_that_fit(model, training=False))
    settings = {
        "tuning": tuning,
        "adapter_sha256": adapter and file_hash(adapter / ADAPTER_FILES[0]),
        "prompts": list(prompts),
        "temperatures": list(temperatures),
        "draws": draws,
        "max_tokens": dict(max_tokens),
        **opened.used,
    }

    def answers(prompt: EncodedPrompt, temperature: float) -> Iterator[dict[str, Any]]:
        drawn = budget.run(
            lambda tokens: sample_long(
                model,
                prompt.tokens,
                draws,
                end_tokens=chat.end_tokens,
                max_tokens=max_tokens[task_of(prompt.id)],
                seed=derive(seed, "sweep", opened.name, prompt.id, f"{temperature:g}"),
                token_budget=tokens,
                temperature=temperature,
            )
        )
        for row in sample_rows(chat, prompt, drawn, seed):
            yield {"temperature": temperature, **row}

    files = [file_hash(file) for file in (*targets, *chain(*map(task_inputs, tasks)))]
    key = content_hash([settings, opened.identity, files, seed, fingerprint("tree", "model")])
    with Parts(checkpoint, key) as parts:
        done = [
            parts.table(
                f"{prompt.id}/{temperature:g}",
                contracts.SWEEP,
                lambda prompt=prompt, temperature=temperature: answers(prompt, temperature),
            )
            for prompt, temperature in progress(
                list(product(encode_prompts(chat, tasks, targets, prompts), temperatures)),
                unit="prompts and temperatures sampled",
            )
        ]
        settings["token_budget"] = budget.tokens
        made = run_record(
            settings=settings, seed=seed, model=opened.record, device=str(model.device)
        )
        contracts.write_table(out, pa.concat_tables(done), contracts.SWEEP)
        write_json(out.with_suffix(".run.json"), made)
        parts.clear()
