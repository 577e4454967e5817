"""Settings: what is written is read back, and every mistake is named with its place."""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import Settings, dump_settings, load_settings, settings_schema


class Optim(Settings):
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    name: Literal["adamw", "sgd"] = "adamw"


class Term(Settings):
    weight: float = 1.0


class Recipe(Settings):
    optim: Optim = Optim()
    head: Optim | None = None
    terms: dict[str, Term] = {}
    steps: int = 5
    note: str = ""
    out: Path = Path("runs/a")
    limit: float | None = None
    fast: bool = False


def refused(source: str | Path, *overrides: str) -> PlaceError:
    with pytest.raises(PlaceError) as caught:
        load_settings(Recipe, source, overrides)
    return caught.value


def test_yaml_and_overrides_merge_and_later_wins() -> None:
    text = (
        "optim:\n  lr: 1e-3\n  betas: [0.5, 1]\nterms: {pathology: {weight: 2}}\nout: a/b\nnote: "
        "no\nsteps: 010\n"
    )
    got = load_settings(
        Recipe,
        text,
        ["optim.lr=.5", "optim.lr=2e-5", "head.name=sgd", "terms.cce={weight: 3}", "limit=.inf"],
    )
    assert got.optim == Optim(lr=2e-5, betas=(0.5, 1.0))
    assert got.head == Optim(name="sgd")
    assert got.terms == {"pathology": Term(weight=2.0), "cce": Term(weight=3.0)}
    assert (got.out, got.note, got.steps, got.limit) == (Path("a/b"), "no", 10, float("inf"))
    assert load_settings(Recipe, "optim:\n  lr: 1e-3").optim.lr == 1e-3
    assert load_settings(Recipe) == Recipe()


def test_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 3\noptim:\n  lrr: 1\n")
    for source in (file, str(file)):
        error = refused(source)
        assert error.code == "PL-C001" and error.exit_code == 2
        assert (
            str(error)
            == "error[PL-C001] unknown key 'optim.lrr' in run.yaml:3. Did you mean 'optim.lr'?"
        )
    assert "Did you mean 'head.betas'?" in str(refused("", "head.beta=3"))
    assert "Did you mean 'terms.a.weight'?" in str(refused("terms: {a: {wieght: 3}}"))
    assert "Did you mean 'optim.lr'?" in str(refused("lr: 3"))  # right key, wrong place
    assert "Did you mean" not in str(refused("zzzzzz: 3"))


def test_all_mistakes_in_one_message() -> None:
    error = refused(
        "steps: true\nnote: 7\noptim:\n  betas: [1]\n  nme: adam\n", "optim.lr=fast", "fast=1"
    )
    for part in (
        "'steps' in settings:1",
        "'note' in settings:2",
        "'optim.betas.1' is missing in settings:4",
        "unknown key 'optim.nme' in settings:5",
        "'optim.lr' in override 'optim.lr=fast'",
        "'fast' in override 'fast=1'",
    ):
        assert part in str(error)
    assert error.code == "PL-C001" and "\n" not in str(error)
    assert refused("steps: true").code == "PL-C003"


@pytest.mark.parametrize("value", ["true", "'5'", "5.5", "null", "[5]", "2020-01-01"])
def test_no_silent_conversion_to_int(value: str) -> None:
    assert refused(f"steps: {value}").code == "PL-C003"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "settings:1"),
        ("steps: 1\nnote: 'x", "settings:2"),
        ("steps: 1\nsteps: 2", "'steps' is given twice, on lines 1 and 2"),
        ("optim: &a {lr: 1}\nhead: *a", "anchors"),
        ("[1]", "'key: value'"),
        ("note: \x00", "bad characters"),
        ("[" * 5000, "deeply"),
        ("note: !!python/object/apply:os.getcwd []", "not readable"),
        ("note: !!binary aGk=", "not readable"),
        ("note: !!set {a}", "not readable"),
        ("note: !!timestamp 2001-01-01", "not readable"),
        ("steps: !!int abc", "not readable"),
        ("steps: !!float abc", "not readable"),
        ("steps: !!bool maybe", "not readable"),
        ("steps: " + "9" * 5000, "too long a number"),
        ("? [a, b]\n: 1", "not readable"),
        ("missing.yaml", "cannot read settings"),
    ],
)
def test_not_yaml(text: str, said: str) -> None:
    error = refused(text)
    assert error.code == "PL-C002" and said in str(error)


@pytest.mark.parametrize("override", ["steps", "=3", "a..b=3", "steps=[1", "optim.=1"])
def test_bad_override(override: str) -> None:
    assert refused("", override).code == "PL-C002"


def test_a_source_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "steps: 3\noptim: {lr: 1, name: sgd}\nterms: {a: {weight: 2}, b: {}}\nnote: x\n"
    )
    own = tmp_path / "own.yaml"
    own.write_text("extends: base\noptim.lr: 2\nhead: {lr: 5}\nterms:\n  c: {weight: 4}\n")
    got = load_settings(
        Recipe,
        own,
        ["steps=7", "terms.c.weight=6"],
        find_base=lambda name: tmp_path / f"{name}.yaml",
    )
    assert got.optim == Optim(lr=2.0, name="sgd") and got.head == Optim(lr=5.0)
    assert got.terms == {
        "c": Term(weight=6.0)
    }  # a key's whole value is replaced, as by an override
    assert (got.steps, got.note) == (7, "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "extends: base\nterms:\n  c: {wieght: 1}",
            "'terms.c.wieght' in own.yaml:3. Did you mean 'terms.c.weight'",
        ),
        ("extends: base\noptim.lr: fast", "'optim.lr' in own.yaml:2"),
        (
            "extends: base\nsteps: 2",
            "'note' in base.yaml:2",
        ),  # what is wrong in the other file is told with its name
        (
            "extends: own",
            "unknown key 'extends'",
        ),  # one step: a recipe is read from two files at most
        ("extends: nowhere", "cannot read settings"),
        ("extends: [base]", "cannot read settings"),
        ("extends: base\n3: 1", "unknown key '3' in own.yaml:2"),
    ],
)
def test_mistakes_of_extending_are_placed(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "base.yaml").write_text("steps: 3\nnote: 5\n")
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(PlaceError) as caught:
        load_settings(
            Recipe, tmp_path / "own.yaml", find_base=lambda name: tmp_path / f"{name}.yaml"
        )
    assert said in str(caught.value)
    assert "unknown key 'extends'" in str(
        refused(tmp_path / "own.yaml")
    )  # only where names can be found


def test_frozen_and_forbidden() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().steps = 7  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Recipe(stepz=7)  # type: ignore[call-arg]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    note=st.one_of(
        st.sampled_from(
            [
                "no",
                "1e-3",
                "null",
                "~",
                "010",
                "2020-01-01",
                ".inf",
                "yes",
                " a: b # c",
                "-",
                "=",
                "<<",
            ]
        ),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lr=st.floats(allow_nan=False),
    steps=st.integers(-(2**70), 2**70),
    names=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.floats(allow_nan=False)
    ),
)
def test_round_trip(note: str, lr: float, steps: int, names: dict[str, float]) -> None:
    terms = {name: Term(weight=value) for name, value in names.items()}
    recipe = Recipe(note=note, optim=Optim(lr=lr), steps=steps, terms=terms)
    assert load_settings(Recipe, dump_settings(recipe)) == recipe


def test_schema_lists_every_key() -> None:
    assert set(settings_schema(Recipe)["properties"]) == set(Recipe.model_fields)
