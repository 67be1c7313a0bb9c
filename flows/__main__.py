"""The command line: ``python -m flows VERB``, where ``VERB --help`` describes a verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from flows.command_line.parser import parser
from flows.core.errors import UserError, errors_in_one_line, one_line


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb.

    An error that the user can fix is printed, and the exit status is 1.

    Args:
        words: the arguments; by default those of the process.
    """
    arguments = parser().parse_args(words)
    with errors_in_one_line("flows"):
        _spare_inputs(arguments)
        # Imported here because torch and pandas take seconds, and help needs neither
        from flows.command_line import verbs
        from flows.command_line.wording import shell_words
        from flows.tables.notices import TableError

        try:
            getattr(verbs, arguments.verb)(arguments)
        except ImportError as error:
            raise UserError(
                f"this needs {error.name}: pip install '.[parquet,plot]' in the source folder of "
                "flows"
            ) from None
        except TableError as error:
            raise UserError(error.text(shell_words)) from None
        except (ValueError, LookupError, NotImplementedError) as error:
            raise UserError(one_line(error)) from None


def _spare_inputs(arguments: argparse.Namespace) -> None:
    """Raise ``UserError`` if the output is the same file as an input of the verb."""
    output = getattr(arguments, "output", None)
    if output is None or not output.exists():
        return
    paths = [value for value in vars(arguments).values() if isinstance(value, Path)]
    if any(path.exists() and path.samefile(output) for path in paths if path is not output):
        raise UserError(
            f"{output}: is read by this command and would be overwritten; name another file "
            "after -o"
        )


if __name__ == "__main__":
    main()
