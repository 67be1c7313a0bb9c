"""The command line: ``python -m flows VERB``, where ``VERB --help`` describes a verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from flows.core.errors import UserError, errors_in_one_line, one_line
from flows.tables.command_line.parser import parser
from flows.tables.command_line.standard_input import standard_input

OPTIONAL = ("pyarrow", "matplotlib", "PIL", "jinja2")  # packages of the extras `parquet` and `plot`


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb.

    An error that the user can fix is printed, and the exit status is 1.

    Args:
        words: the arguments; by default those of the process.
    """
    arguments = parser().parse_args(words)
    with errors_in_one_line("flows"):
        _spare_inputs(arguments)
        with standard_input(arguments):
            _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    """Call the function of a verb. Raises ``UserError`` for whatever the user can fix."""
    # Imported here because torch and pandas take seconds, and help needs neither
    from flows.tables.columns.notices import TableError
    from flows.tables.command_line.command import Command
    from flows.tables.command_line.wording import shell_words

    command, settings = Command.of(vars(arguments))
    module = "overview" if command.verb == "inspect" else "verbs"  # inspect needs no torch
    try:
        verbs = import_module(f"flows.tables.command_line.{module}")
        is_question = module == "verbs" and command.verb in verbs.QUESTIONS
        work = verbs.ask if is_question else getattr(verbs, command.verb)
        work(command, **settings)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        raise UserError(
            f"this needs {error.name}: pip install '.[parquet,plot]' in the source folder of flows"
        ) from None
    except TableError as error:
        raise UserError(error.text(shell_words)) from None
    except UserError:
        raise
    except (ValueError, LookupError, NotImplementedError) as error:
        raise UserError(one_line(error)) from None


def _spare_inputs(arguments: argparse.Namespace) -> None:
    """Raise ``UserError`` if the output is the same file as an input of the verb.

    An output that is a symbolic link becomes the file that the link names.
    """
    output = getattr(arguments, "output", None)
    if output is None:
        return
    if output.is_symlink():  # the file is replaced, and the link stays
        output = arguments.output = output.resolve()
    if not output.exists():
        return
    paths = [value for value in vars(arguments).values() if isinstance(value, Path)]
    if any(path.exists() and path.samefile(output) for path in paths if path is not output):
        raise UserError(
            f"{output}: is read by this command and would be overwritten; name another file "
            "after -o"
        )


if __name__ == "__main__":
    main()
