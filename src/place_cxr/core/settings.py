"""Settings: frozen, strict values read from YAML and ``key=value``, with every mistake named at once.

YAML is read by the rules of YAML 1.2: only ``true``/``false`` are booleans (``no`` is text), ``1e-3`` is a number,
dates are text. Anchors and repeated keys are refused: a recipe says each thing once, where it can be found.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from place_cxr.core.errors import PlaceError

Key = tuple[str | int, ...]


class Settings(BaseModel):
    """The base of all settings: immutable, unknown keys refused. A default stands beside its source in the subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


S = TypeVar("S", bound=Settings)

_RESOLVERS = [
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "anchors are not allowed", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):  # the same rules both ways, so that what is written is read back as it was
    for _tag, _pattern, _first in _RESOLVERS:
        _class.add_implicit_resolver(_tag, re.compile(_pattern), [c if c != "\0" else "" for c in _first])
# Base ten only: YAML 1.1 would read 010 as eight.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: _number(node.value))


def _number(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))


def _parse(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    """The value of a YAML text, and the line of each of its keys."""
    lines: dict[Key, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        for key, line in _keys(node, ()):
            if key in lines:
                raise PlaceError(
                    f"key {_dotted(key)!r} is given twice, on lines {lines[key]} and {line}",
                    code="PL-C002",
                    file=name,
                    fix="keep one of them",
                )
            lines[key] = line
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise PlaceError(
            f"not readable as YAML: {getattr(error, 'problem', None) or 'bad characters'}",
            code="PL-C002",
            file=where,
            fix="correct that line",
        ) from None
    except RecursionError:
        raise PlaceError("nested too deeply", code="PL-C002", file=name) from None


def _keys(node: yaml.Node, parent: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*parent, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*parent, index), value.start_mark.line + 1
            yield from _keys(value, (*parent, index))


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key)


def load(
    cls: type[S],
    source: str | Path = "",
    overrides: Sequence[str] = (),
    *,
    find: Callable[[str], Path] | None = None,
) -> S:
    """Settings of class ``cls`` from YAML and overrides; later overrides win.

    ``source`` is YAML text, or a file: a ``Path``, or one line of text that ends in ``.yaml`` or ``.yml``. An override
    is ``a.b=value`` with the value in YAML (``optim.lr=1e-3``, ``betas=[0.9, 0.98]``, ``name=''``). With ``find``, a
    source may say ``extends: NAME``: it then starts from the settings of that file and its own lines are overrides
    (``model.tokens: {}`` sets one value, ``losses: {...}`` replaces all of them).

    Raises PlaceError with all mistakes in one message: PL-C001 a key that does not exist (with the nearest that does),
    PL-C002 text that is not YAML or not ``key=value``, PL-C003 a value of the wrong type or range, or none where one is
    needed.
    """
    name, data, origin = _read(source)
    if find is not None and "extends" in data:
        _, base, above = _read(find(str(data.pop("extends"))))
        for key, value in data.items():
            parts = str(key).split(".")
            nested = {(*parts, *path[1:]): where for path, where in origin.items() if path[0] == str(key)}
            _put(parts, value, nested, base, above)
        data, origin = base, above
    for override in overrides:
        _apply(override, data, origin)
    text = json.dumps(data)
    try:
        # Through JSON: its strict mode takes a list for a tuple and text for a path, but not true for 1 or "5" for 5.
        return cls.model_validate_json(text, strict=True)
    except ValidationError as error:
        data = json.loads(text)  # keys are text now, as in the findings
        found = [_explain(cls, item, data, origin, name) for item in error.errors(include_url=False)]
        raise PlaceError("; ".join(dict.fromkeys(text for _, text in found)), code=min(c for c, _ in found)) from None


def _read(source: str | Path) -> tuple[str, dict[str, Any], dict[Key, str]]:
    """The name of a source, its values, and where each key stands."""
    name = "settings"
    if isinstance(source, Path) or ("\n" not in source and source.endswith((".yaml", ".yml"))):
        name = Path(source).name
        try:
            source = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise PlaceError(f"cannot read settings: {reason}", code="PL-C002", file=source) from None
    data, lines = _parse(source, name)
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise PlaceError("settings must be 'key: value' lines", code="PL-C002", file=name)
    return name, data, {key: f"{name}:{line}" for key, line in lines.items()}


def parse_values(overrides: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as nested plain data: ``views=[PA, AP]``, ``split_lists.train=train.txt``.

    Raises PL-C002 for what is no such text.
    """
    data: dict[str, Any] = {}
    origin: dict[Key, str] = {}
    for override in overrides:
        _apply(override, data, origin)
    return data


def _apply(override: str, data: dict[str, Any], origin: dict[Key, str]) -> None:
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise PlaceError(f"{override!r} is not of the form key=value", code="PL-C002", fix="write e.g. optim.lr=1e-3")
    name = f"override {override!r}"
    value, _ = _parse(text, name)
    _put(parts, value, {tuple(parts): name}, data, origin)


def _put(parts: list[str], value: Any, places: Mapping[Key, str], data: dict[str, Any], origin: dict[Key, str]) -> None:
    """Set one value in ``data`` in place of whatever was there; ``places`` says where it and what is in it stand."""
    place = data
    for part in parts[:-1]:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    place[parts[-1]] = value
    for key in [key for key in origin if key[: len(parts)] == tuple(parts)]:
        del origin[key]
    origin.update(places)


def _explain(
    cls: type[Settings], item: Mapping[str, Any], data: Any, origin: Mapping[Key, str], name: str
) -> tuple[str, str]:
    """(code, text) of one finding of pydantic."""
    key = _locate(item["loc"], data, item["type"] == "missing")
    where = next((origin[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origin), name)
    dotted = _dotted(key) or "settings"
    if item["type"] == "extra_forbidden":
        near = _nearest(cls, key)
        return "PL-C001", f"unknown key {dotted!r} in {where}." + (f" Did you mean {near!r}?" if near else "")
    if item["type"] == "missing":
        return "PL-C003", f"{dotted!r} is missing in {where}"
    message = item["msg"].removeprefix("Value error, ")
    shown = repr(item["input"]) if isinstance(item["input"], (str, int, float, type(None))) else ""
    return "PL-C003", f"{dotted!r} in {where}: {message}" + (f", not {shown[:60]}" if shown else "")


def _locate(loc: Sequence[str | int], data: Any, missing: bool) -> Key:
    """The path of a finding, without the names of union branches; the last part of a missing one is not in ``data``."""
    key: list[str | int] = []
    for part in loc[:-1] if missing else loc:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]  # type: ignore[index]
            key.append(part)
    return (*key, loc[-1]) if missing else tuple(key)


def _step(kind: Any, part: str | int) -> list[Any]:
    """The annotations one path element below an annotation."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return [field.annotation] if field else []
    args = get_args(kind)
    if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
        return [args[1]]
    if get_origin(kind) in (list, tuple, Sequence):
        return [arg for arg in args if arg is not Ellipsis]
    return [below for arg in args for below in _step(arg, part)]


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for arg in get_args(kind) for model in _models(arg)]


def _paths(kind: Any, above: Key = (), depth: int = 5) -> Iterator[Key]:
    for model in _models(kind) if depth else []:
        for name, field in model.model_fields.items():
            yield (*above, name)
            if get_origin(field.annotation) in (None, *_UNIONS):
                yield from _paths(field.annotation, (*above, name), depth - 1)


_UNIONS = (get_origin(int | None), get_origin(TypeVar("T") | None))  # X | Y and Union[X, Y]


def _nearest(cls: type[Settings], key: Key) -> str:
    """The existing key that an unknown one is most like: among its siblings, else anywhere; empty if none is."""
    kinds: list[Any] = [cls]
    for part in key[:-1]:
        kinds = [below for kind in kinds for below in _step(kind, part)]
    siblings = [name for kind in kinds for model in _models(kind) for name in model.model_fields]
    if close := difflib.get_close_matches(str(key[-1]), siblings, n=1):
        return _dotted((*key[:-1], close[0]))
    everywhere = {str(path[-1]): _dotted(path) for path in reversed(list(_paths(cls)))}
    close = difflib.get_close_matches(str(key[-1]), everywhere, n=1, cutoff=0.75)
    return everywhere[close[0]] if close else ""


def dump(settings: Settings) -> str:
    """YAML text of all values, defaults included; ``load(type(settings), dump(settings)) == settings``."""
    data = settings.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100)


def schema(cls: type[Settings]) -> dict[str, Any]:
    """The JSON Schema of a settings class."""
    return cls.model_json_schema()
