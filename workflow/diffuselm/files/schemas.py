"""The columns of the Parquet files that stages pass to each other."""

import pyarrow as pa

NATURAL = pa.schema(
    [("name", pa.string()), ("count", pa.int64()), ("probability", pa.float64())],
)
TARGETS = pa.schema([("prompt", pa.string()), ("text", pa.string()), ("weight", pa.float64())])
TRAINING = pa.schema(
    [
        ("step", pa.int64()),
        ("prompt", pa.string()),
        ("loss", pa.float64()),
        ("optimal", pa.float64()),
        ("learning_rate", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
SAMPLES = pa.schema(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("draw", pa.int64()),
        ("text", pa.string()),
        ("value", pa.string()),
        ("valid", pa.bool_()),
        ("logprob", pa.float64()),
        ("truncated", pa.bool_()),
    ]
)
BIOGRAPHIES = pa.schema(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("draw", pa.int64()),
        ("name", pa.string()),
        ("first_name", pa.string()),
        ("last_name", pa.string()),
        ("gender", pa.string()),
        ("birth_date", pa.date32()),  # null where the answer gives only the year
        ("birth_year", pa.int64()),
        ("birth_place", pa.string()),
        ("city", pa.string()),
        ("country", pa.string()),
        ("profession", pa.string()),
        ("accomplishment", pa.string()),
        ("valid", pa.bool_()),
        ("problem", pa.string()),  # why the answer is not valid
        ("duplicate", pa.bool_()),  # an earlier answer has the same text
        ("repeated_name", pa.bool_()),  # an earlier valid one has the same name
        ("text", pa.string()),
    ]
)
# The base model at one temperature after the other.
SWEEP = SAMPLES.insert(0, pa.field("temperature", pa.float64()))
# The loss on each paragraph of a held-out text.
TEXT = pa.schema(
    [("paragraph", pa.int64()), ("tokens", pa.int64()), ("log_prob", pa.float64())],
)
EXACT = pa.schema(
    [
        ("prompt", pa.string()),
        ("target", pa.string()),
        ("probability", pa.float64()),
        ("weight", pa.float64()),
    ]
)
METRICS = pa.schema(
    [
        ("model", pa.string()),
        ("tuning", pa.string()),
        ("task", pa.string()),
        ("prompt", pa.string()),
        ("field", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n", pa.int64()),
        ("seed", pa.int64()),
    ]
)
