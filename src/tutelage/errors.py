"""Every error that tutelage raises on purpose, as one tree; each leaf carries its exit code.

TutelageError                    1  a bug, or an error of ours that has no better name
├── UsageError (ValueError)     2  a wrong flag, key or combination
├── DataError (ValueError)     65  a file's content is not what its format promises
├── MissingInputError          66  a file, folder or model that was named is not there
├── ServiceError               69  something outside (hub, judge, server) does not answer
├── DivergedError              70  a number is no longer finite, or training has gone astray
├── CannotCreateError          73  an output cannot be created
├── DiskError (OSError)        74  reading or writing failed midway (disk full, I/O)
├── TryAgainError              75  someone else holds what is needed just now (a lock)
└── DeniedError                77  permission is missing
"""

from __future__ import annotations


class TutelageError(Exception):
    """What happened, where, and the way out; printed without a traceback unless `--debug`.

    Example:
        >>> raise DataError("field 'chosen' is empty", where="pairs.jsonl:41:12", fix="remove the row or fill it in")
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[TutelageError], what: str, where: str | None, fix: str | None) -> TutelageError:
    return kind(what, where=where, fix=fix)


class UsageError(TutelageError, ValueError):
    exit_code = 2


class DataError(TutelageError, ValueError):
    exit_code = 65


class MissingInputError(TutelageError, FileNotFoundError):
    exit_code = 66


class ServiceError(TutelageError, ConnectionError):
    exit_code = 69


class DivergedError(TutelageError, ArithmeticError):
    exit_code = 70


class CannotCreateError(TutelageError, OSError):
    exit_code = 73


class DiskError(TutelageError, OSError):
    exit_code = 74


class TryAgainError(TutelageError, RuntimeError):
    exit_code = 75


class DeniedError(TutelageError, PermissionError):
    exit_code = 77
