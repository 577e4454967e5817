"""The page: one file, honest numbers, nothing a report says can run, and no part that it cannot do
without.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.version import RESEARCH_NOTICE
from place_cxr.page import task_words, write_page
from place_cxr.tasks import task_texts
from tests.page.conftest import TASKS, metric, result, undefined

Make = Callable[..., Path]
MEANS_SOMETHING = (
    '<script>alert("x")</script><img src=x onerror=alert(1)> & [link](http://x.example) \x1b[31m'
)


class Page(HTMLParser):
    """Tags, attributes, text and exact numbers of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[float, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self._value: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "data":
            self._value = dict(attrs)["value"]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._value is not None:
            self.numbers.append((float(self._value), data))
            self._value = None
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page(run: Path) -> Page:
    return Page(write_page(run, task_texts()).read_text(encoding="utf-8"))


def results(run: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(run.rglob("result.json"))]


def change(
    run: Path, task: str, edit: Callable[[dict[str, Any]], None], where: str = "tasks"
) -> None:
    file = run / where / task / "phantom-tiny" / "result.json"
    table = json.loads(file.read_text())
    edit(table)
    file.write_text(json.dumps(table))


def test_one_file_without_network_or_script(make_run: Make) -> None:
    run = make_run()
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    found = Page(html)
    assert "script" not in {tag for tag, _ in found.tags}
    assert not {"link", "iframe", "object", "embed", "form"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert "http" not in re.sub(r'http-equiv="', "", html)
    assert "@import" not in html
    assert "url(" not in html
    policy = next(
        a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy and policy.startswith("default-src 'none'")
    assert found.open == []
    assert len(html) < 3_000_000


def test_notice_is_the_first_thing_said(make_run: Make) -> None:
    html = write_page(make_run(), task_texts()).read_text(encoding="utf-8")
    body = html[html.index("<body>") :]
    assert RESEARCH_NOTICE == "Research use only. Not a medical device. Do not use for diagnosis."
    assert Page(html).text.count(RESEARCH_NOTICE) == 2
    assert body.index(RESEARCH_NOTICE) < body.index("<h1>")


def test_every_number_is_that_of_a_result(make_run: Make) -> None:
    run = make_run()
    exact = {m["value"] for r in results(run) for m in r["metrics"].values()} | {
        r["seconds"] for r in results(run)
    }
    shown = page(run).numbers
    assert {value for value, _ in shown} == exact - {None}
    for value, text in shown:
        digits = len(text.partition(".")[2])
        assert abs(float(text) - value) <= 0.5 * 10**-digits + 1e-9


def test_every_interval_is_shown(make_run: Make) -> None:
    run = make_run()
    text = page(run).text
    for table in results(run):
        for name, number in table["metrics"].items():
            if number["ci95"] and number["ci95"][1] < 10:
                low, high = number["ci95"]
                assert f"{low:.3f} to {high:.3f}" in text, name


def test_where_numbers_come_from(make_run: Make) -> None:
    text = page(make_run()).text
    assert (
        "Data phantom-tiny, split test (ab12ab12ab12); seeds 0, 1, 2; commit 0123456789ab" in text
    )
    assert "rules of classification" in text
    assert "/home/someone" not in text
    for method in ("PLACE", "Random weights", "ITA alone", "Reports shuffled"):
        assert method in text


def test_undefined_is_a_dash_with_its_reason(make_run: Make) -> None:
    run = make_run()
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    row = re.search(r'<tr><th scope="row" class="name">Rib Fracture</th>.*?</tr>', html, re.S)
    assert row
    cells = row[0].split("<td")[2:]
    assert len(cells) == 4
    for cell in cells:
        assert (
            '<span class="none">–</span> <span class="why">no study with the finding</span>' in cell
        )
        assert "<data" not in cell
    assert "NaN" not in html and "None" not in html


def test_undefined_headline(make_run: Make) -> None:
    run = make_run()
    change(
        run,
        "zero-shot",
        lambda t: t["metrics"].update({"mix/auroc/macro": undefined("nobody has labels")}),
    )
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    card = html[html.index('class="card"') :].split('<div class="card">')[0]
    assert '<p class="big none">–</p><p class="why">nobody has labels</p>' in card
    assert "Above" not in card and "Below" not in card


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (0.5, "Above random weights."),
        (0.75, "No clear difference from random weights."),
        (0.95, "Below random weights."),
    ],
)
def test_verdict_follows_from_the_intervals(make_run: Make, other: float, said: str) -> None:
    run = make_run()
    change(run, "zero-shot", lambda t: t["metrics"].update({"mix/auroc/macro": metric(0.78)}))
    change(
        run,
        "zero-shot",
        lambda t: t["metrics"].update({"mix/auroc/macro": metric(other)}),
        "baselines/random weights/tasks",
    )
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    assert said in html[html.index('<div class="card">') :].split('<div class="card">')[1]


@pytest.mark.fault("W11")
def test_what_a_report_says_stays_text(make_run: Make) -> None:
    run = make_run(text=MEANS_SOMETHING)
    (run / "STATUS").write_text(MEANS_SOMETHING)

    def hostile(table: dict[str, Any]) -> None:
        table["metrics"] |= {f"mix/auroc/{MEANS_SOMETHING}": undefined(MEANS_SOMETHING)}
        table["signature"] = table["hardware"] = table["git"] = MEANS_SOMETHING

    change(run, "zero-shot", hostile)
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    found = Page(html)
    assert "<script" not in html and "<img" not in html
    assert not [a for _, a in found.tags if "onerror" in a]
    assert found.text.count('<script>alert("x")</script>') >= 5
    assert found.open == []


def test_without_controls(make_run: Make) -> None:
    found = page(make_run(controls=False))
    assert "Random weights" not in found.text
    assert "results to compare with (baselines/)" in found.text
    assert found.numbers


def test_without_gallery(make_run: Make) -> None:
    found = page(make_run(gallery=False))
    assert "sentence by sentence" not in found.text
    assert "gallery" not in found.text
    assert not [a for _, a in found.tags if (a.get("href") or "").startswith("data:")]


@pytest.mark.parametrize(
    "name", ["config.yaml", "env.json", "data.lock.json", "metrics.jsonl", "tasks", "STATUS"]
)
def test_missing_parts_are_said(make_run: Make, name: str) -> None:
    run = make_run()
    target = run / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    found = page(run)
    assert (name in found.text) == (name != "STATUS")
    assert found.open == []


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "env.json",
        "data.lock.json",
        "metrics.jsonl",
        "data_card.json",
        "gallery/gallery.json",
        "tasks/zero-shot/phantom-tiny/result.json",
    ],
)
def test_broken_parts_do_not_break_the_page(make_run: Make, name: str) -> None:
    run = make_run()
    for content in (
        b"",
        b"[1, 2]",
        b'{"findings": 3, "images": 1, "losses": [1]}',
        b"\xff\xfe\x00{",
    ):
        (run / name).write_bytes(content)
        found = page(run)
        assert RESEARCH_NOTICE in found.text
        assert "Random weights" in found.text


def test_an_infinite_number_is_no_result(make_run: Make) -> None:
    run = make_run()
    change(
        run,
        "zero-shot",
        lambda t: t["metrics"].update({"mix/auroc/macro": metric(0.5) | {"value": float("inf")}}),
    )
    assert "tasks/zero-shot/phantom-tiny/result.json: cannot be read as a result" in page(run).text


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="PL-R007"):
        write_page(tmp_path, task_texts())
    with pytest.raises(PlaceError, match="PL-R007"):
        write_page(tmp_path / "nowhere", task_texts())
    assert list(tmp_path.iterdir()) == []


def test_other_studies_are_not_compared(make_run: Make) -> None:
    run = make_run()
    odd = metric(0.987654)

    def elsewhere(table: dict[str, Any]) -> None:
        table["split_digest"] = "cd" * 32
        table["metrics"]["mix/auroc/macro"] = odd

    change(run, "zero-shot", elsewhere, "baselines/ITA alone/tasks")
    found = page(run)
    assert "ITA alone: scored on other studies, not comparable" in found.text
    assert odd["value"] not in [value for value, _ in found.numbers]


def test_a_control_under_the_runs_own_name_goes_by_its_folder(make_run: Make) -> None:
    run = make_run()
    change(run, "zero-shot", lambda t: t.update(method="place"), "baselines/ITA alone/tasks")
    change(
        run,
        "zero-shot",
        lambda t: t["metrics"].update({"mix/auroc/macro": metric(0.654321)}),
        "baselines/ITA alone/tasks",
    )
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    section = html[html.index('id="task1"') : html.index('id="task2"')]
    assert "ITA alone" in section and "0.654321" in section


def section(run: Path, title: str) -> str:
    """The page's section of one task, as text."""
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    parts = re.findall(r'<section class="task".*?</section>', html, re.S)
    [found] = [part for part in parts if f">{title}</h2>" in part]
    return str(found)


def test_every_task_has_a_section_in_the_order_of_the_words(make_run: Make) -> None:
    html = write_page(make_run(), task_texts()).read_text(encoding="utf-8")
    titles = re.findall(r'<h2 id="task\d+">(.+?)</h2>', html)
    texts = task_texts()
    assert titles == [texts[task].title for task in TASKS] and list(texts) == list(TASKS)
    assert html.count('<div class="card">') == len(TASKS)


def test_a_mode_or_profile_has_a_section_of_its_own(make_run: Make) -> None:
    run = make_run()
    odd = metric(0.314159)
    for name in ("segmentation-mgca", "segmentation-finetune", "detection-finetune-prior"):
        folder = run / "tasks" / name / "phantom-tiny"
        folder.mkdir(parents=True)
        task = name.partition("-")[0]
        number = "100%/dice/macro" if task == "segmentation" else "100%/AP 40-75/macro"
        (folder / "result.json").write_text(json.dumps(result(name, "place", {number: odd})))
    frozen, own = (
        section(run, "Outlining findings"),
        section(run, "Outlining findings: rules of MGCA"),
    )
    assert "0.314159" not in frozen and "0.314159" in own
    assert (
        "Overlap where the finding is (Dice)" in own
        and "published with MGCA" in own
        and "MGCA" not in frozen
    )
    assert task_words.FROZEN_NOTE in frozen and task_words.FROZEN_NOTE not in own
    tuned = section(run, "Outlining findings: the network learns too")
    assert "itself went on learning" in tuned and task_words.FROZEN_NOTE not in tuned
    both = section(run, "Drawing boxes around findings: the network learns too, rules of PRIOR")
    assert "itself went on learning" in both and "published with PRIOR" in both
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    assert html.count('<div class="card">') == len(TASKS)
    assert "0.314159" not in html[: html.index('<section class="task"')]


def test_the_trivial_answers_stand_beside_the_written_report(make_run: Make) -> None:
    run = make_run()
    part = Page(section(run, "Writing a report")).text
    shown, _, _ = part.partition("All numbers of this task")
    for name in (
        "The written report",
        "Report of the most similar training picture",
        "Always the most frequent",
    ):
        assert shown.count(name) == 3
    assert "Edema F1" not in shown and "Edema F1" in part


def test_other_rules_of_a_control_are_said(make_run: Make) -> None:
    run = make_run()
    assert "Otherwise for" not in page(run).text
    shared = "strict; {}tokens: words; beams 3"
    for where, read in (
        ("tasks", "reads V-PORs; "),
        ("baselines/ITA alone/tasks", "reads patches; "),
        ("baselines/random weights/tasks", "reads patches; "),
        ("baselines/reports shuffled/tasks", ""),
    ):
        change(
            run,
            "report-generation",
            lambda t, read=read: t.update(signature=shared.format(read)),
            where,
        )
    text = Page(section(run, "Writing a report")).text
    assert text.count("tokens: words") == 1
    assert (
        "Otherwise for ITA alone, Random weights: reads patches, in place of: reads V-PORs." in text
    )
    assert "Otherwise for Reports shuffled: without: reads V-PORs." in text


def test_the_largest_share_there_is_is_shown(make_run: Make) -> None:
    run = make_run()

    def few(table: dict[str, Any]) -> None:
        table["metrics"] = {
            k.replace("100%", "12.5%"): v for k, v in table["metrics"].items() if k[:3] != "10%"
        }

    change(run, "classification", few)
    part = Page(section(run, "Learning from few labels")).text
    assert (
        "Every finding, learning from 12.5%" in part and "not measured" in part
    )  # by the controls


def test_ita_alone_is_read_by_what_it_trains(make_run: Make) -> None:
    run = make_run()
    told = {"mix/auroc/macro": metric(0.111111), "instance/auroc/macro": metric(0.222222)}
    change(run, "zero-shot", lambda t: t["metrics"].update(told), "baselines/ITA alone/tasks")
    change(run, "zero-shot", lambda t: t["metrics"].update(told), "baselines/random weights/tasks")
    table, _, ways = section(run, "Finding conditions from words alone").partition(
        "Two ways to compare"
    )
    numbers = [
        value
        for value, _ in Page(
            table[table.index("<table") : table.index("</table>")] + "</table>"
        ).numbers
    ]
    assert (
        0.222222 in numbers and 0.111111 in numbers
    )  # ITA by its own match, random weights by the mean of both
    assert table.count("0.222222") == 1 and "all that it trains" in table
    assert ways.partition("<details>")[0].count("0.111111") == 2  # both ways are told of everybody
    card = write_page(run, task_texts()).read_text(encoding="utf-8").split('<div class="card">')[1]
    assert "0.222222" in card and "Above ITA alone." in card


def test_a_task_nobody_described_is_shown(make_run: Make) -> None:
    run = make_run()
    folder = run / "tasks" / "weighing" / "phantom-tiny"
    folder.mkdir(parents=True)
    table = result(
        "weighing",
        "place",
        {"mass": metric(0.123) | {"value": 70.25, "ci95": None}, "a/b/c/d": metric(0.4)},
    )
    (folder / "result.json").write_text(json.dumps(table))
    found = page(run)
    assert (70.25, "70.2") in found.numbers
    assert "weighing" in found.text


def test_capitals_of_a_method_do_not_matter(make_run: Make) -> None:
    run = make_run()
    for task in TASKS:
        change(run, task, lambda t: t.update(method="PLACE"))
    assert "PLACE : the method of this run" in page(run).text


def test_an_unfinished_run_says_so(make_run: Make) -> None:
    run = make_run()
    assert "not finished" not in page(run).text
    (run / "STATUS").write_text("interrupted step 37\n")
    assert "Training is not finished: the run’s state is “interrupted step 37”." in page(run).text


def test_a_gallery_cannot_reach_outside_its_folder(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    file = run / "gallery" / "gallery.json"
    shutil.copy(run / "gallery" / "1.jpg", tmp_path / "secret.jpg")
    for name in ("../../secret.jpg", str(tmp_path / "secret.jpg"), "gallery.json"):
        table = json.loads(file.read_text())
        table["studies"][0]["image"] = name
        file.write_text(json.dumps(table))
        found = page(run)
        assert "the gallery: not as it should be" in found.text
        assert not [a for tag, a in found.tags if tag == "image"]


def test_phantoms_are_called_phantoms(make_run: Make) -> None:
    run = make_run()
    assert "drawn by a program" in page(run).text
    for task in TASKS:
        change(run, task, lambda t: t.update(source="hospital"))
    text = page(run).text
    assert "drawn by a program" not in text
    assert "no other hospital" in text


def test_the_page_is_replaced_whole(make_run: Make) -> None:
    run = make_run()
    first = write_page(run, task_texts()).read_bytes()
    assert write_page(str(run), task_texts()).read_bytes() == first
    assert [file.name for file in run.iterdir() if "results" in file.name] == ["results.html"]


def test_gallery_shows_sentences_with_heat_and_without(make_run: Make) -> None:
    found = page(make_run())
    heat = [
        a
        for tag, a in found.tags
        if tag == "svg" and (a.get("aria-label") or "").startswith("Heat map for: Small")
    ]
    assert len(heat) == 2
    assert "match 0.71" in found.text
    assert "“Comparison: none.”" in found.text
    assert "Agreement of predicted and target: 0.93" in found.text


def test_how_common_findings_are(make_run: Make) -> None:
    run = make_run()
    assert "How common" not in page(run).text
    card = {
        "findings": {
            "Edema": {
                "train": {"present": 30, "absent": 90, "uncertain": 5},
                "test": {"present": 0, "absent": 0, "uncertain": 0},
            }
        }
    }
    (run / "data_card.json").write_text(json.dumps(card))
    text = page(run).text
    assert "30 of 120 (25 %)" in text


def test_findings_are_explained_and_in_one_order(make_run: Make) -> None:
    run = make_run()
    names = [
        "Nodule",
        "Pleural Effusion",
        "Cardiomegaly",
        "Rib Fracture",
        "Pneumothorax",
        "Consolidation",
    ]
    counts = {split: {"present": 3, "absent": 9, "uncertain": 0} for split in ("train", "val")}
    (run / "data_card.json").write_text(
        json.dumps({"findings": dict.fromkeys([*names, "Gout"], counts)})
    )
    html = write_page(run, task_texts()).read_text(encoding="utf-8")
    for task in ("task1", "task2", "task4"):
        rows = re.findall(r'class="name">([A-Z][\w ]+)</th>', html[html.index(f'id="{task}"') :])
        rows = [row for row in rows if row in names or row == "Mean over findings"]
        start = rows.index("Mean over findings")
        assert rows[start : start + 7] == ["Mean over findings", *names]
    assert "<dt>Nodule</dt><dd>a round white spot" in html
    assert "<dt>Gout</dt>" not in html
    assert "<b>Pleural Effusion:</b> fluid between" in html[html.index("<h3>Study 1") :]
    assert '<th scope="col">validation</th>' in html


def test_what_only_the_machine_did_is_folded_away(make_run: Make) -> None:
    html = write_page(make_run(), task_texts()).read_text(encoding="utf-8")
    training = html[html.index('id="training"') : html.index('id="task1"')]
    open_part, _, folded = training.partition("<details>")
    assert "Likeness of observations" in open_part and "Gradient norm" not in open_part
    assert folded.count('<figure class="chart">') == 4


def test_drawn_reports_stand_in_the_section_of_their_task(make_run: Make) -> None:
    run = make_run()
    assert "Reports that the network wrote" not in section(run, "Writing a report")
    (folder,) = (run / "tasks" / "report-generation").iterdir()
    (folder / "examples").mkdir()
    Image.new("L", (64, 64), 9).save(folder / "examples" / "1.png")
    picture = base64.b64encode((folder / "examples" / "1.png").read_bytes()).decode()
    part = section(run, "Writing a report")  # up to the end of the figures
    assert "Reports that the network wrote" in part
    assert f'src="data:image/png;base64,{picture}"' in part


@pytest.mark.parametrize(
    "name", ["config.yaml", "env.json", "metrics.jsonl", "gallery/gallery.json", "data_card.json"]
)
@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x]\nb: [*a, *a]",
        '{"step": ' + "9" * 4000 + ', "loss": 1}',
        '{"step": 1, "loss": 1e-300}\n{"step": 2, "loss": 2e-300}',
        '{"step": 1, "loss": 1e308}\n{"step": 2, "loss": -1e308}',
        '{"a": ' * 50_000,
        "a: !!binary aGk=",
        "a: " + "9" * 5000,
    ],
)
def test_a_strangers_file_does_not_break_the_page(make_run: Make, name: str, content: str) -> None:
    run = make_run()
    (run / name).write_text(content)
    assert RESEARCH_NOTICE in page(run).text


def test_a_linked_file_is_not_read(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    (tmp_path / "secret.yaml").write_text("name: secretname")
    (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    assert "secretname" not in page(run).text


def test_a_page_with_pictures_is_for_this_user_alone(make_run: Make) -> None:
    target = write_page(make_run(), task_texts())
    assert target.stat().st_mode & 0o777 == 0o600
