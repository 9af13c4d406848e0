"""What settings and the contents of files share: unknown keys are refused, and none changes."""

from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from diffuselm.errors import InputError, one_line


# In place of pydantic's own reading, which takes true for 1.
def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"found {value}; expected a whole number")
    return value


WHOLE = BeforeValidator(_no_truth)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", max_length=64)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Beyond any use: a slip of the hand, which would end in a job, out of memory or time.
MOST = 10_000_000
Count = Annotated[int, Field(ge=1, le=MOST), WHOLE]
Seed = Annotated[int, Field(ge=0, lt=2**31), WHOLE]
Tokens = Annotated[int, Field(ge=64, lt=2**31)]


Checked = TypeVar("Checked")


def checked(
    validate: Callable[[Any], Checked],
    content: object,
    where: object,
    keys: str = "none of that name",
    secret: str | None = None,
) -> Checked:
    """What `validate`, of pydantic, makes of `content`.

    Raises InputError, one line of `where`, the key, what was found and what was expected; `keys`
    says which keys are known, and under the key `secret` no value is shown.
    """
    try:
        return validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {one_line(error, keys, secret)}") from error


class Settings(BaseModel):
    """Base of all settings, and of what files hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def read(cls, found: object, where: object, keys: str = "") -> Self:
        """Check what the file at `where` holds; raises InputError as `checked` does."""
        return checked(cls.model_validate, found, where, keys or ", ".join(cls.model_fields))

    @classmethod
    def subset_of(cls, larger: "Settings", **changes: object) -> Self:
        """The settings of this class out of those of a class derived from it."""
        return cls(**{name: getattr(larger, name) for name in cls.model_fields} | changes)
