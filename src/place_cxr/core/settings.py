"""Settings: frozen, strict values read from YAML and ``key=value``. One error names all mistakes.

YAML is read by the rules of YAML 1.2: only ``true``/``false`` are booleans (``no`` is text),
``1e-3`` is a number, dates are text. Anchors and repeated keys are refused, so that a recipe states
each value once (docs/decisions/0018-yaml.md).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from place_cxr.core.errors import PlaceError

_KeyPath = tuple[str | int, ...]
_MAX_DIGITS = 300  # of an integer: as many fit a float


class Settings(BaseModel):
    """The base of all settings: immutable; unknown keys are refused.

    A subclass names the source of each default beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


_S = TypeVar("_S", bound=Settings)

# (tag, pattern of the text, its possible first characters): what unquoted text may stand for.
# PyYAML's own table is that of YAML 1.1, which reads "no" as false and "1e-3" as text.
_RESOLVERS = [
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}
    # Values of JSON alone: !!binary, !!set or !!timestamp are refused as unknown tags.
    yaml_constructors = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "str", "seq", "map")
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "anchors are not allowed", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Reader and writer follow the same rules, so that a written value is read back unchanged.
for _class in (_Loader, _Dumper):
    for _tag, _pattern, _first in _RESOLVERS:
        _class.add_implicit_resolver(
            _tag, re.compile(_pattern), [c if c != "\0" else "" for c in _first]
        )
# Base ten only: YAML 1.1 would read 010 as eight.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: _parse_int(node.value))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: _parse_float(node.value))


def _parse_int(text: str) -> int:
    # Longer integers overflow floats, and Python refuses to read or write very long ones.
    if len(text) > _MAX_DIGITS:
        raise ValueError("an integer of too many digits")
    return int(text)


def _parse_float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))


def _parse_yaml(text: str, name: str) -> tuple[Any, dict[_KeyPath, int]]:
    """The value of a YAML text, and the line of each of its keys."""
    lines: dict[_KeyPath, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines

        # PyYAML itself keeps the last of several equal keys without a word.
        for key, line in _key_lines(node, ()):
            if key in lines:
                raise PlaceError(
                    f"key {_to_dotted(key)!r} is given twice, on lines {lines[key]} and {line}",
                    code="PL-C002",
                    file=name,
                    fix="keep one of them",
                )

            lines[key] = line

        value = loader.construct_document(node)
        json.dumps(value)  # a key may be a list, which is no key of JSON
        return value, lines
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
    except (ValueError, TypeError, KeyError, AttributeError):
        # From PyYAML's constructors: "!!bool maybe", "!!int abc", an integer of 5,000 digits.
        raise PlaceError(
            "not readable as YAML: a value is not of its tag's form, or too long a number",
            code="PL-C002",
            file=name,
            fix="write plain values without tags",
        ) from None


def parse_yaml(text: str, name: str) -> Any:
    """The value of a YAML text by the rules above. Raises PlaceError PL-C002."""
    return _parse_yaml(text, name)[0]


def _key_lines(node: yaml.Node, parent: _KeyPath) -> Iterator[tuple[_KeyPath, int]]:
    """(path, line number from 1) of every key and list item below a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*parent, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _key_lines(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*parent, index), value.start_mark.line + 1
            yield from _key_lines(value, (*parent, index))


def _to_dotted(key: _KeyPath) -> str:
    return ".".join(str(part) for part in key)


def load_settings(
    cls: type[_S],
    source: str | Path = "",
    overrides: Sequence[str] = (),
    *,
    find_base: Callable[[str], Path] | None = None,
) -> _S:
    """Settings of class ``cls`` from YAML and overrides; later overrides win.

    ``source`` is YAML text, or a file: a ``Path``, or one line of text that ends in ``.yaml`` or
    ``.yml``. An override is ``a.b=value`` with the value in YAML (``optim.lr=1e-3``, ``betas=[0.9,
    0.98]``, ``name=''``). With ``find_base``, a source may say ``extends: NAME``: it then starts
    from the settings of that file and its own lines are overrides (``model.tokens: {}`` sets one
    value, ``losses: {...}`` replaces all of them).

    Raises PlaceError with all mistakes in one message: PL-C001 a key that does not exist (with the
    nearest that does), PL-C002 text that is not YAML or not ``key=value``, PL-C003 a value of the
    wrong type or range, or none where one is needed.
    """
    name, data, locations = _read_source(source)
    if find_base is not None and "extends" in data:
        _, base, base_locations = _read_source(find_base(str(data.pop("extends"))))
        for key, value in data.items():
            parts = str(key).split(".")
            # "model.tokens: {...}" is one key of this file and two levels of the base.
            nested = {
                (*parts, *path[1:]): where
                for path, where in locations.items()
                if path[0] == str(key)
            }
            _set_value(parts, value, nested, base, base_locations)

        data, locations = base, base_locations

    for override in overrides:
        _apply_override(override, data, locations)
    # Through JSON: there pydantic's strict mode accepts a list as a tuple and text as a path, but
    # refuses true for 1 and "5" for 5.
    text = json.dumps(data)

    try:
        return cls.model_validate_json(text, strict=True)
    except ValidationError as error:
        data = json.loads(text)  # keys are text now, as in pydantic's errors
        mistakes = [
            _explain_error(cls, item, data, locations, name)
            for item in error.errors(include_url=False)
        ]
        problems = dict.fromkeys(problem for _, problem in mistakes)
        raise PlaceError("; ".join(problems), code=min(code for code, _ in mistakes)) from None


def _read_source(source: str | Path) -> tuple[str, dict[str, Any], dict[_KeyPath, str]]:
    """The name of a source, its values, and where each key stands."""
    name = "settings"
    if isinstance(source, Path) or ("\n" not in source and source.endswith((".yaml", ".yml"))):
        name = Path(source).name
        try:
            source = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise PlaceError(
                f"cannot read settings: {reason}", code="PL-C002", file=source
            ) from None

    data, lines = _parse_yaml(source, name)
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise PlaceError("settings must be 'key: value' lines", code="PL-C002", file=name)

    return name, data, {key: f"{name}:{line}" for key, line in lines.items()}


def parse_values(overrides: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as nested plain data: ``views=[PA, AP]``,
    ``split_lists.train=train.txt``.

    Raises PL-C002 for a text of another form.
    """
    data: dict[str, Any] = {}
    locations: dict[_KeyPath, str] = {}
    for override in overrides:
        _apply_override(override, data, locations)

    return data


def _apply_override(override: str, data: dict[str, Any], locations: dict[_KeyPath, str]) -> None:
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise PlaceError(
            f"{override!r} is not of the form key=value",
            code="PL-C002",
            fix="write e.g. optim.lr=1e-3",
        )

    name = f"override {override!r}"
    value, _ = _parse_yaml(text, name)
    _set_value(parts, value, {tuple(parts): name}, data, locations)


def _set_value(
    parts: list[str],
    value: Any,
    new_locations: Mapping[_KeyPath, str],
    data: dict[str, Any],
    locations: dict[_KeyPath, str],
) -> None:
    """Replace one value in ``data``; ``new_locations`` are those of the value and its keys."""
    node = data
    for part in parts[:-1]:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]

    node[parts[-1]] = value
    for key in [key for key in locations if key[: len(parts)] == tuple(parts)]:
        del locations[key]
    locations.update(new_locations)


def _explain_error(
    cls: type[Settings],
    error: Mapping[str, Any],
    data: Any,
    locations: Mapping[_KeyPath, str],
    name: str,
) -> tuple[str, str]:
    """(code, text) of one of pydantic's errors."""
    key = _error_key_path(error["loc"], data, error["type"] == "missing")
    # The value itself, else the nearest key above it that stands in a file or an override.
    where = next((locations[key[:n]] for n in range(len(key), 0, -1) if key[:n] in locations), name)
    dotted = _to_dotted(key) or "settings"
    if error["type"] == "extra_forbidden":
        nearest = _nearest_key(cls, key)
        hint = f" Did you mean {nearest!r}?" if nearest else ""
        return "PL-C001", f"unknown key {dotted!r} in {where}.{hint}"

    if error["type"] == "missing":
        return "PL-C003", f"{dotted!r} is missing in {where}"
    message = error["msg"].removeprefix("Value error, ")
    is_plain = isinstance(error["input"], (str, int, float, type(None)))
    shown = repr(error["input"]) if is_plain else ""

    return "PL-C003", f"{dotted!r} in {where}: {message}" + (f", not {shown[:60]}" if shown else "")


def _error_key_path(loc: Sequence[str | int], data: Any, missing: bool) -> _KeyPath:
    """The path of an error in ``data``, without the names of union branches.

    The last part of a missing key is not in ``data``.
    """
    key: list[str | int] = []
    for part in loc[:-1] if missing else loc:
        is_key = isinstance(data, dict) and part in data
        if is_key or (isinstance(data, list) and isinstance(part, int)):
            data = data[part]
            key.append(part)

    return (*key, loc[-1]) if missing else tuple(key)


def _child_annotations(annotation: Any, part: str | int) -> list[Any]:
    """The annotations one path element below an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return [field.annotation] if field else []

    args = get_args(annotation)
    if isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping):
        return [args[1]]
    if get_origin(annotation) in (list, tuple, Sequence):
        return [arg for arg in args if arg is not Ellipsis]

    # A union: the element may belong to any of its branches.
    return list(chain.from_iterable(_child_annotations(arg, part) for arg in args))


def _model_classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(chain.from_iterable(map(_model_classes, get_args(annotation))))


def _all_key_paths(annotation: Any, parent: _KeyPath = (), depth: int = 5) -> Iterator[_KeyPath]:
    for model in _model_classes(annotation) if depth else []:
        for name, field in model.model_fields.items():
            yield (*parent, name)
            if get_origin(field.annotation) in (None, *_UNIONS):
                yield from _all_key_paths(field.annotation, (*parent, name), depth - 1)


_UNIONS = (get_origin(int | None), get_origin(TypeVar("T") | None))  # X | Y and Union[X, Y]


def _nearest_key(cls: type[Settings], key: _KeyPath) -> str:
    """The known key most like an unknown one: of its siblings, else of all; "" if none is."""
    annotations: list[Any] = [cls]
    for part in key[:-1]:
        children = [_child_annotations(annotation, part) for annotation in annotations]
        annotations = list(chain.from_iterable(children))

    siblings: list[str] = []
    for model in chain.from_iterable(map(_model_classes, annotations)):
        siblings += model.model_fields
    if close := difflib.get_close_matches(str(key[-1]), siblings, n=1):
        return _to_dotted((*key[:-1], close[0]))

    # Reversed, so that the first of several keys of one name wins.
    keys_by_name = {str(path[-1]): _to_dotted(path) for path in reversed(list(_all_key_paths(cls)))}
    close = difflib.get_close_matches(str(key[-1]), keys_by_name, n=1, cutoff=0.75)
    return keys_by_name[close[0]] if close else ""


def dump_settings(settings: Settings) -> str:
    """YAML text of all values, defaults included.

    ``load_settings(type(settings), dump_settings(settings)) == settings``.
    """
    data = settings.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=100)


def settings_schema(cls: type[Settings]) -> dict[str, Any]:
    """The JSON Schema of a settings class."""
    return cls.model_json_schema()
