"""Stage `merge`: a base model with an adapter merged into its weights, as a folder of its own."""

from pathlib import Path

from diffuselm.files.json_files import read_json
from diffuselm.files.whole import written_folder
from diffuselm.model.merging import merged
from diffuselm.paper.model_card import merged_card


def merge(*, model: Path, adapter: Path, out: Path) -> None:
    """Write the model folder: safetensors, tokenizer, chat template, generation config and card.

    Args:
        model: record of the base model.
        adapter: adapter folder.
        out: folder to write.
    """
    tuned = read_json(adapter / "run.json")
    whole, tokenizer = merged(model, adapter, tuned)
    card = merged_card(folder=out, run=tuned, dtype=tuned["settings"]["dtype"])
    with written_folder(out) as part:
        whole.save_pretrained(part)
        tokenizer.save_pretrained(part)
        (part / "README.md").write_text(card, encoding="utf-8", newline="\n")
