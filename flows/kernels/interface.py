"""The interface of the C code for ctypes, read from ``chain.h``.

The header is the only definition. ``declare`` compares the sizes of its structures with a library.
"""

import re
from collections.abc import Iterator
from ctypes import CDLL, Structure, c_double, c_float, c_int, c_long, c_void_p, sizeof
from pathlib import Path
from typing import Any

from torch import Tensor

HEADER = Path(__file__).with_name("chain.h")
_TEXT = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
_TYPES: dict[str, Any] = {
    "int": c_int,
    "long": c_long,
    "float": c_float,
    "double": c_double,
    "void": None,
}


def _names(declarations: str, end: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and types in ``const float *a, *b; int c;``, one after another.

    ``end`` is the text that ends a declaration.
    """
    for declaration in filter(str.strip, declarations.split(end)):
        kind, names = declaration.replace("const ", "").split(maxsplit=1)
        for name in names.split(","):
            yield name.strip(" *"), c_void_p if "*" in name else _TYPES[kind]


STRUCTURES: dict[str, Any] = {}
for _body, _name in re.findall(r"typedef struct \{(.*?)\} (\w+);", _TEXT, re.DOTALL):
    _content = {"__slots__": (), "_fields_": list(_names(_body, ";"))}
    STRUCTURES[_name] = _TYPES[_name] = type(_name, (Structure,), _content)

DEPTH = int(re.findall(r"DEPTH = (\d+)", _TEXT)[0])  # hidden layers of a velocity field, at most
KINDS = re.findall(r"\w+", _TEXT.split("enum kind {")[1].split("}")[0])
Values, Layer, Chain, Adam, Product, Network, Velocity = (
    STRUCTURES[name]
    for name in ("Values", "Layer", "Chain", "Adam", "Product", "Network", "Velocity")
)


def filled(structure: Any, **fields: Any) -> Any:
    """Return a ``structure`` with these ``fields``.

    Numbers are stored unchanged, and tensors as addresses, with their strides in fields of the type
    ``Values``.
    """
    kinds = dict(structure._fields_)
    for name, value in fields.items():
        if isinstance(value, Tensor):
            address, has_stride = value.data_ptr(), kinds[name] is Values
            fields[name] = Values(address, value.stride(0)) if has_stride else address
    return structure(**fields)


def declare(library: CDLL) -> CDLL:
    """Declare the types of the arguments and results of the functions of ``library``; return it.

    Raises ``RuntimeError`` if a structure has different sizes in C and in Python.
    """
    for name, structure in STRUCTURES.items():
        in_c = c_long.in_dll(library, f"size_of_{name}").value
        if in_c != sizeof(structure):
            raise RuntimeError(
                f"{HEADER.name}: the structure {name} has {in_c} bytes in C and "
                f"{sizeof(structure)} in Python"
            )
    for result, name, arguments in re.findall(
        r"^(\w+) (\w+)\((.*?)\);", _TEXT, re.DOTALL | re.MULTILINE
    ):
        function = getattr(library, name)
        function.restype = _TYPES[result]
        function.argtypes = [kind for _, kind in _names(arguments, ",")]
    return library
