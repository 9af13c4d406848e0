"""The columns of the Parquet files that stages pass to each other."""

import pyarrow as pa

TRUTH, WHOLE, NUMBER, STRING = pa.bool_(), pa.int64(), pa.float64(), pa.string()


def columns(**types: pa.DataType) -> pa.Schema:
    """A schema of columns in this order."""
    return pa.schema(types)


NATURAL = columns(name=STRING, count=WHOLE, probability=NUMBER)
TARGETS = columns(prompt=STRING, text=STRING, weight=NUMBER)
TRAINING = columns(
    step=WHOLE, prompt=STRING, loss=NUMBER, optimal=NUMBER, learning_rate=NUMBER, seconds=NUMBER
)
SAMPLES = columns(
    prompt=STRING,
    seed=WHOLE,
    draw=WHOLE,
    text=STRING,
    value=STRING,
    valid=TRUTH,
    logprob=NUMBER,
    truncated=TRUTH,
)
# As they are drawn: with the tokens of the prompt and of the answer, its end included.
DRAWN = pa.schema([*SAMPLES, ("tokens_read", WHOLE), ("tokens_written", WHOLE)])
# The base model at one temperature after the other.
SWEEP = SAMPLES.insert(0, pa.field("temperature", NUMBER))
# The loss on each paragraph of a held-out text.
TEXT = columns(paragraph=WHOLE, tokens=WHOLE, log_prob=NUMBER)
WORDINGS = columns(
    prompt=STRING,
    text=STRING,
    entropy=NUMBER,
    entropy_other=NUMBER,
    tokens_read=WHOLE,
    tokens_written=WHOLE,
)
EXACT = columns(prompt=STRING, target=STRING, probability=NUMBER, weight=NUMBER)
METRICS = columns(
    model=STRING,
    tuning=STRING,
    task=STRING,
    prompt=STRING,
    field=STRING,
    metric=STRING,
    value=NUMBER,
    ci_low=NUMBER,
    ci_high=NUMBER,
    n=WHOLE,
    seed=WHOLE,
)
